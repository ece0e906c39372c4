package rewind_test

import (
	"os"
	"testing"

	"github.com/failback-hook/failback-hook/rewind/rewindtest/powercut"
)

func TestMain(m *testing.M) {
	if os.Getenv(smallDiskEnv) != "" { // root of a user namespace only, see TestCrashMatrix
		os.Exit(m.Run())
	}
	os.Exit(powercut.Main(m))
}
