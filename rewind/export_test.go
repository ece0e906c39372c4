package rewind

import "sync"

// BeforeWrite makes fn be asked before each change that Apply makes, for one
// change at a time. An error of fn ends the run there: as far as the directory
// goes, that is a kill.
func (e *Engine) BeforeWrite(fn func(op, path string) error) {
	if fn == nil {
		e.beforeWrite = nil
		return
	}
	var mu sync.Mutex
	e.beforeWrite = func(op, path string) error {
		mu.Lock()
		defer mu.Unlock()
		return fn(op, path)
	}
}
