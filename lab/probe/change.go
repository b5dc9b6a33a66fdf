package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// reached is how long a change took.
type reached struct {
	Milliseconds float64 `json:"milliseconds"`
}

// change creates an object and waits until an address answers. The clock starts when the object is on its way to the
// API server, over a connection that is there already.
func change(url string, files []string, address string) error {
	object, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	client, err := clientOf(files)
	if err != nil {
		return err
	}
	if _, err := exchange(client.Get(url + "?limit=1")); err != nil {
		return err
	}
	answered := make(chan time.Time, 1)
	go func() {
		for ask(address, firstLimit) != nil {
			time.Sleep(firstPause)
		}
		answered <- time.Now()
	}()
	began := time.Now()
	if told, err := exchange(client.Post(url, "application/json", bytes.NewReader(object))); err != nil {
		return fmt.Errorf("%w: %s", err, told)
	}
	select {
	case at := <-answered:
		return report(reached{float64(at.Sub(began).Nanoseconds()) / 1e6})
	case <-time.After(30 * time.Second):
		return errors.New("no answer in 30 seconds")
	}
}

// clientOf trusts the authority in the first file and shows the certificate and key in the others.
func clientOf(files []string) (*http.Client, error) {
	authority, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s", files[0])
	}
	pair, err := tls.LoadX509KeyPair(files[1], files[2])
	if err != nil {
		return nil, err
	}
	trust := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}, nil
}

// exchange reads an answer to its end, so that the connection can serve again.
func exchange(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		err = errors.New(response.Status)
	}
	return string(text), err
}
