package main

import (
	"os"
	"sync"
	"time"
)

// second is what became of the questions that were asked in one second.
type second struct {
	// Since 1970.
	At   int64 `json:"at"`
	Sent int   `json:"sent"`
	Lost int   `json:"lost"`
	// Why the first of the lost had no answer.
	Why string `json:"why,omitempty"`

	lock    sync.Mutex
	waiting sync.WaitGroup
}

// probeSteadily asks at a steady rate, whether earlier questions are answered or not, until it is told to end. Each
// second is told once all its questions are decided; a second that is missing had no time to ask any.
func probeSteadily(pause time.Duration, ask func() error, told <-chan os.Signal, tell func(*second)) {
	var (
		telling sync.WaitGroup
		current = &second{}
		ticker  = time.NewTicker(pause)
	)
	defer ticker.Stop()
	conclude := func(done *second) {
		telling.Go(func() {
			done.waiting.Wait()
			tell(done)
		})
	}
	for {
		select {
		case <-told:
			conclude(current)
			telling.Wait()
			return
		case at := <-ticker.C:
			if current.At != at.Unix() {
				if current.Sent > 0 {
					conclude(current)
				}
				current = &second{At: at.Unix()}
			}
			current.send(ask)
		}
	}
}

func (s *second) send(ask func() error) {
	s.Sent++
	s.waiting.Go(func() {
		if err := ask(); err != nil {
			s.lock.Lock()
			defer s.lock.Unlock()
			if s.Lost == 0 {
				s.Why = err.Error()
			}
			s.Lost++
		}
	})
}
