package commands

import (
	"slices"
	"sync"
)

// Place is one partition of a topic, as [topic, number].
type Place [2]any

// Events keeps what a group did to its member, and what the member holds now. Clients tell it
// from goroutines of their own.
type Events struct {
	mutex sync.Mutex
	seen  [][2]any
	held  []Place
}

// Note takes an event: "assigned", "revoked" or "lost".
func (e *Events) Note(kind string, changed map[string][]int32) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	places := []Place{}
	for topic, numbers := range changed {
		for _, number := range numbers {
			places = append(places, Place{topic, number})
		}
	}
	e.seen = append(e.seen, [2]any{kind, places})
	if kind == "assigned" {
		e.held = append(e.held, places...)
		return
	}
	e.held = slices.DeleteFunc(e.held, func(at Place) bool { return slices.Contains(places, at) })
}

// Reset forgets all.
func (e *Events) Reset() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.seen, e.held = nil, nil
}

// Answer is what `poll` tells, with the records it took. Events are told once.
func (e *Events) Answer(records []Record) Answer {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	seen := e.seen
	e.seen = nil
	if seen == nil {
		seen = [][2]any{}
	}
	if records == nil {
		records = []Record{}
	}
	return Answer{"records": records, "assigned": append([]Place{}, e.held...), "events": seen}
}
