package main

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A resolver of a C library gives up after five seconds; nothing here takes one.
const nameLimit = time.Second

// answers is how fast a DNS server answered.
type answers struct {
	PerSecond float64 `json:"perSecond"`
	Failed    int64   `json:"failed"`
}

// names asks a DNS server for one name, each worker as soon as it has an answer.
func names(words []string) error {
	address, name := words[0], words[1]
	workers, err := strconv.Atoi(words[2])
	if err != nil || workers < 1 {
		return errUsage
	}
	seconds, err := strconv.Atoi(words[3])
	if err != nil || seconds < 1 {
		return errUsage
	}
	question, err := questionFor(name)
	if err != nil {
		return err
	}
	var answered, failed atomic.Int64
	began := time.Now()
	until := began.Add(time.Duration(seconds) * time.Second)
	ended := make(chan error, workers)
	for range workers {
		go func() { ended <- askUntil(until, address, question, &answered, &failed) }()
	}
	for range workers {
		if err := <-ended; err != nil {
			return err
		}
	}
	return report(answers{float64(answered.Load()) / time.Since(began).Seconds(), failed.Load()})
}

// resolve asks for one name at a steady rate, from a new port each time.
func resolve(address, rate, name string) error {
	question, err := questionFor(name)
	if err != nil {
		return err
	}
	return keepAsking(rate, func() error {
		connection, err := net.Dial("udp", address)
		if err != nil {
			return err
		}
		defer connection.Close()
		return askName(connection, question, make([]byte, 1500))
	})
}

func askUntil(until time.Time, address string, question []byte, answered, failed *atomic.Int64) error {
	connection, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	buffer := make([]byte, 1500)
	for time.Now().Before(until) {
		if err := askName(connection, question, buffer); err != nil {
			failed.Add(1)
		} else {
			answered.Add(1)
		}
	}
	return nil
}

func askName(connection net.Conn, question, buffer []byte) error {
	if err := connection.SetDeadline(time.Now().Add(nameLimit)); err != nil {
		return err
	}
	if _, err := connection.Write(question); err != nil {
		return err
	}
	length, err := connection.Read(buffer)
	if err != nil {
		return err
	}
	var parser dnsmessage.Parser
	header, err := parser.Start(buffer[:length])
	if err != nil {
		return err
	}
	if header.RCode != dnsmessage.RCodeSuccess {
		return fmt.Errorf("answered %s", header.RCode)
	}
	return nil
}

func questionFor(name string) ([]byte, error) {
	parsed, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	message := dnsmessage.Message{
		Header: dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{
			Name: parsed, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
	}
	return message.Pack()
}
