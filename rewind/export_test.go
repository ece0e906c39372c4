package rewind

// BeforeWrite makes fn be asked before each change that Apply makes. An error
// of fn ends the run there: as far as the directory goes, that is a kill.
func (e *Engine) BeforeWrite(fn func(op, path string) error) { e.beforeWrite = fn }
