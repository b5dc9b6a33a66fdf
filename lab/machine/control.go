package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
)

// request is one line from outside; the answer is one line too.
type request struct {
	Do      string  `json:"do"`
	Service service `json:"service"`
	Signal  int     `json:"signal"`
}

type answer struct {
	Error    string    `json:"error,omitempty"`
	Services []service `json:"services"`
}

func listen() (net.Listener, error) {
	// Left over from a machine that was killed.
	if err := os.Remove(socketName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", socketName)
}

// serve answers requests, one a connection, for as long as the machine lives.
func (s *supervisor) serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go s.converse(connection)
	}
}

func (s *supervisor) converse(connection net.Conn) {
	defer connection.Close()
	var asked request
	err := json.NewDecoder(connection).Decode(&asked)
	if err == nil {
		err = s.act(asked)
	}
	reply := answer{Services: s.list()}
	if err != nil {
		reply.Error = err.Error()
	}
	// Whoever asked and left does not want the answer.
	_ = json.NewEncoder(connection).Encode(reply)
}

func (s *supervisor) act(asked request) error {
	switch asked.Do {
	case "start":
		return s.start(asked.Service)
	case "stop":
		return s.stop(asked.Service.Name)
	case "signal":
		return s.signal(asked.Service.Name, asked.Signal)
	case "list":
		return nil
	default:
		return fmt.Errorf("no such request: %q", asked.Do)
	}
}
