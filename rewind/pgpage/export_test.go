package pgpage

// Offsets lets the tests repeat the computation in plain code.
func Offsets() [lanes]uint32 { return offsets() }
