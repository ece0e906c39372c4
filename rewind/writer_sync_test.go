package rewind

import "testing"

// The method that was asked for is taken whatever it costs.
func TestSyncMethod(t *testing.T) {
	for _, tt := range []struct {
		method  SyncMethod
		touched int
		want    bool
	}{
		{"", manyFiles, false}, {"", manyFiles + 1, true},
		{SyncFiles, 1, false}, {SyncFiles, 10 * manyFiles, false},
		{SyncFileSystems, 1, true}, {SyncFileSystems, 0, true},
	} {
		if got := tt.method.wholeFileSystems(tt.touched); got != tt.want {
			t.Errorf("%q, %d touched: got %v, want %v", tt.method, tt.touched, got, tt.want)
		}
	}
}
