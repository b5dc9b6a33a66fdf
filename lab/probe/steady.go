package main

import (
	"os"
	"sync"
	"time"
)

// Losses are told one by one up to this many.
const toldLosses = 1000

// steadiness is how a server was to be reached over a time.
type steadiness struct {
	Sent int `json:"sent"`
	Lost int `json:"lost"`
	// The first losses: when, and why.
	Losses []loss `json:"losses"`
}

type loss struct {
	// Milliseconds since 1970.
	At  int64  `json:"at"`
	Why string `json:"why"`
}

// probeSteadily asks at a steady rate, whether earlier questions are answered or not, until it is told to end.
func probeSteadily(address string, pause time.Duration, ask func(string) error, told <-chan os.Signal) steadiness {
	var (
		lock    sync.Mutex
		waiting sync.WaitGroup
		found   = steadiness{Losses: []loss{}}
		ticker  = time.NewTicker(pause)
	)
	defer ticker.Stop()
	for {
		select {
		case <-told:
			waiting.Wait()
			return found
		case at := <-ticker.C:
			found.Sent++
			waiting.Go(func() {
				if err := ask(address); err != nil {
					lock.Lock()
					defer lock.Unlock()
					found.Lost++
					if len(found.Losses) < toldLosses {
						found.Losses = append(found.Losses, loss{at.UnixMilli(), err.Error()})
					}
				}
			})
		}
	}
}
