package dcs

import (
	"slices"
	"strings"
)

// modelStore is what etcd is to the protocol of the lock: keys with their create
// revisions and leases, and transactions over them. TestModelStoreIsEtcd compares it
// with the real one.
type modelStore struct {
	rev    int64
	cells  []cell // by key
	leases []int64
}

type cell struct {
	key, value    string
	create, lease int64
}

func (s modelStore) clone() modelStore {
	s.cells, s.leases = slices.Clone(s.cells), slices.Clone(s.leases)
	return s
}

func (s *modelStore) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.cells, key, func(c cell, k string) int { return strings.Compare(c.key, k) })
}

func (s *modelStore) get(key string) (cell, bool) {
	i, ok := s.find(key)
	if !ok {
		return cell{}, false
	}
	return s.cells[i], true
}

// in are the cells of a range.
func (s *modelStore) in(r keyRange) []cell {
	i, ok := s.find(r.key)
	if r.end == "" {
		if !ok {
			return nil
		}
		return s.cells[i : i+1]
	}
	j, _ := s.find(r.end)
	return s.cells[i:j]
}

func (s *modelStore) put(c cell) {
	i, ok := s.find(c.key)
	if ok {
		c.create = s.cells[i].create
		s.cells[i] = c
		return
	}
	c.create = s.rev
	s.cells = slices.Insert(s.cells, i, c)
}

func (s *modelStore) remove(key string) {
	if i, ok := s.find(key); ok {
		s.cells = slices.Delete(s.cells, i, i+1)
	}
}

// alive tells whether a lease is; zero stands for none.
func (s *modelStore) alive(lease int64) bool { return lease == 0 || slices.Contains(s.leases, lease) }

// expire ends a lease and deletes its keys.
func (s *modelStore) expire(lease int64) {
	if slices.ContainsFunc(s.cells, func(c cell) bool { return c.lease == lease }) {
		s.rev++
	}
	s.leases = slices.DeleteFunc(s.leases, func(l int64) bool { return l == lease })
	s.cells = slices.DeleteFunc(s.cells, func(c cell) bool { return c.lease == lease })
}

// holds evaluates one comparison.
func (c cond) holds(s *modelStore) bool {
	found := s.in(c.keyRange)
	if len(found) == 0 {
		found = []cell{{}}
		if c.property == propValue {
			return false
		}
	}
	for _, f := range found {
		n := f.create
		switch {
		case c.property == propValue && f.value != c.text:
			return false
		case c.property == propValue:
			continue
		case c.property == propLease:
			n = f.lease
		}
		if n != c.number {
			return false
		}
	}
	return true
}

// commit carries out a transaction; ok is false for one that would put a key on a
// lease that is gone, which changes nothing.
func (s *modelStore) commit(t txn) (a answer, ok bool) {
	a.held = !t.onlyReads()
	for _, c := range t.conds {
		a.held = a.held && c.holds(s)
	}
	if a.held {
		for _, w := range t.writes {
			if !w.remove && !s.alive(w.lease) {
				return answer{}, false
			}
		}
		if slices.ContainsFunc(t.writes, func(w write) bool { _, there := s.find(w.key); return !w.remove || there }) {
			s.rev++
		}
		for _, w := range t.writes {
			if w.remove {
				s.remove(w.key)
			} else {
				s.put(cell{key: w.key, value: w.value, lease: w.lease})
			}
		}
		a.revision = s.rev
		return a, true
	}
	a.revision = s.rev
	for _, r := range t.reads {
		var list []KeyValue
		for _, c := range s.in(r) {
			list = append(list, KeyValue{Key: c.key, Value: []byte(c.value), CreateRevision: c.create, Lease: c.lease})
		}
		a.found = append(a.found, list)
	}
	return a, true
}
