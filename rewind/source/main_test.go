package source_test

import (
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest"
)

func TestMain(m *testing.M) { os.Exit(rewindtest.Main(m)) }
