package main

import (
	"net"
	"strconv"
	"time"
)

// connections is how long connections took to be accepted.
type connections struct {
	Microseconds []float64 `json:"microseconds"`
	Failed       int       `json:"failed"`
	// Why the first of them failed.
	Why string `json:"why,omitempty"`
}

// connects opens connections one after the other: the first packet of each meets every rule there is for it.
func connects(count string, addresses []string) error {
	wanted, err := strconv.Atoi(count)
	if err != nil || wanted < 1 {
		return errUsage
	}
	var made connections
	for number := range wanted {
		began := time.Now()
		connection, err := net.DialTimeout("tcp", addresses[number%len(addresses)], askLimit)
		took := time.Since(began)
		if err != nil {
			if made.Failed == 0 {
				made.Why = err.Error()
			}
			made.Failed++
			continue
		}
		made.Microseconds = append(made.Microseconds, float64(took.Nanoseconds())/1000)
		connection.Close()
	}
	return report(made)
}
