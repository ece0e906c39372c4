package powercut_test

import (
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

func TestMain(m *testing.M) { os.Exit(powercut.Main(m)) }
