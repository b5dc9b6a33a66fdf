// Clients that measure, from wherever they are started: a pod, a node, the control plane's machine.
//
//	probe first ADDRESS...             waits until an HTTP server answers at each address; when that was, one a line
//	probe ask ADDRESS                  asks an HTTP server once, whose answer is awaited for 0.9 seconds
//	probe steady ADDRESS HZ            asks a server over a new connection each time, until it is told to end
//	probe hold ADDRESS HZ              asks a server over one connection, until it is told to end
//	probe resolve ADDRESS HZ NAME      asks a DNS server for a name, until it is told to end
//	probe names ADDRESS NAME WORKERS SECONDS   asks a DNS server as fast as it answers
//	probe connects COUNT ADDRESS...    opens so many connections to addresses in turn; how long each took, in JSON
//	probe change URL CA CERT KEY ADDRESS   creates the object on standard input; how long until the address answers
//
// Those that go on until they are told to end print a line of JSON for each second, the last one a line when it ends.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

var errUsage = errors.New(`usage: probe first ADDRESS...
       probe ask ADDRESS
       probe steady ADDRESS HZ
       probe hold ADDRESS HZ
       probe resolve ADDRESS HZ NAME
       probe names ADDRESS NAME WORKERS SECONDS
       probe connects COUNT ADDRESS...
       probe change URL CA CERT KEY ADDRESS`)

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
	case verb == "ask" && len(rest) == 1:
		return ask(rest[0], askLimit)
	case verb == "steady" && len(rest) == 2:
		return keepAsking(rest[1], func() error { return ask(rest[0], askLimit) })
	case verb == "hold" && len(rest) == 2:
		held := newHolder(rest[0])
		return keepAsking(rest[1], held.ask)
	case verb == "resolve" && len(rest) == 3:
		return resolve(rest[0], rest[1], rest[2])
	case verb == "names" && len(rest) == 4:
		return names(rest)
	case verb == "connects" && len(rest) > 1:
		return connects(rest[0], rest[1:])
	case verb == "change" && len(rest) == 5:
		return change(rest[0], rest[1:4], rest[4])
	default:
		return errUsage
	}
}

func keepAsking(rate string, ask func() error) error {
	hertz, err := strconv.Atoi(rate)
	if err != nil || hertz < 1 {
		return errUsage
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	var lock sync.Mutex
	probeSteadily(time.Second/time.Duration(hertz), ask, told, func(done *second) {
		lock.Lock()
		defer lock.Unlock()
		// Nobody can be told of a failure to tell.
		_ = report(done)
	})
	return nil
}

func report(what any) error {
	return json.NewEncoder(os.Stdout).Encode(what)
}
