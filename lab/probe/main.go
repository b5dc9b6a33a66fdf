// Clients that measure, from wherever they are started: a pod, a node, the control plane's machine.
//
//	probe first ADDRESS...             waits until an HTTP server answers at each address; when that was, one a line
//	probe steady ADDRESS HZ            asks a server over a new connection each time, until it is told to end
//	probe hold ADDRESS HZ              asks a server over one connection, until it is told to end
//	probe names ADDRESS NAME WORKERS SECONDS   asks a DNS server as fast as it answers
//
// All but the first print one line of JSON when they end.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var errUsage = errors.New("usage: probe first ADDRESS... | steady ADDRESS HZ | hold ADDRESS HZ | names ADDRESS NAME WORKERS SECONDS")

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) < 2 {
		return errUsage
	}
	switch verb, rest := words[0], words[1:]; {
	case verb == "first":
		return first(rest)
	case verb == "steady" && len(rest) == 2:
		return keepAsking(rest, askAnew)
	case verb == "hold" && len(rest) == 2:
		return keepAsking(rest, newHolder().ask)
	case verb == "names" && len(rest) == 4:
		return names(rest)
	default:
		return errUsage
	}
}

func keepAsking(words []string, ask func(string) error) error {
	rate, err := strconv.Atoi(words[1])
	if err != nil || rate < 1 {
		return errUsage
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	return report(probeSteadily(words[0], time.Second/time.Duration(rate), ask, told))
}

func report(what any) error {
	return json.NewEncoder(os.Stdout).Encode(what)
}
