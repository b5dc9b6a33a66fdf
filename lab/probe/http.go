package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// A lost packet is sent again after a second: an answer after that counts as lost.
	askLimit = 900 * time.Millisecond
	// Whoever waits for the first answer cannot wait for a packet to be sent again.
	firstLimit = 20 * time.Millisecond
	firstPause = time.Millisecond
)

// first waits for each address to answer and prints when it did, in nanoseconds since 1970.
func first(addresses []string) error {
	for _, address := range addresses {
		for ask(address, firstLimit) != nil {
			time.Sleep(firstPause)
		}
		fmt.Println(time.Now().UnixNano())
	}
	return nil
}

func ask(address string, limit time.Duration) error {
	connection, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return err
	}
	defer connection.Close()
	return converse(connection, bufio.NewReader(connection), limit)
}

func converse(connection net.Conn, reader *bufio.Reader, limit time.Duration) error {
	if err := connection.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := io.WriteString(connection, "GET /hostname HTTP/1.1\r\nHost: probe\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// holder asks over one connection, and opens another only when that is lost.
type holder struct {
	address    string
	lock       sync.Mutex
	connection net.Conn
	reader     *bufio.Reader
}

func newHolder(address string) *holder {
	return &holder{address: address}
}

func (h *holder) ask() error {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.connection == nil {
		connection, err := net.DialTimeout("tcp", h.address, askLimit)
		if err != nil {
			return err
		}
		h.connection, h.reader = connection, bufio.NewReader(connection)
	}
	err := converse(h.connection, h.reader, askLimit)
	if err != nil {
		h.connection.Close()
		h.connection = nil
	}
	return err
}
