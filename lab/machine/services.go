package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// How long a service that ended stays down, as an init system does it.
const restartAfter = time.Second

// service is one program the machine keeps running.
type service struct {
	Name      string   `json:"name"`
	Program   string   `json:"program"`
	Arguments []string `json:"arguments"`
	// Process id inside the machine; 0 while it is down.
	Pid      int `json:"pid"`
	Restarts int `json:"restarts"`
}

// supervisor runs services and reaps whatever has lost its parent.
type supervisor struct {
	lock     sync.Mutex
	services map[string]*service
}

func newSupervisor() *supervisor {
	s := &supervisor{services: map[string]*service{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			s.reap()
		}
	}()
	return s
}

func (s *supervisor) start(wanted service) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if _, known := s.services[wanted.Name]; known {
		return fmt.Errorf("%s is there already", wanted.Name)
	}
	if err := wanted.launch(); err != nil {
		return err
	}
	s.services[wanted.Name] = &wanted
	return nil
}

// stop forgets a service, so that it is not started again, and kills it.
func (s *supervisor) stop(name string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	found, known := s.services[name]
	if !known {
		return fmt.Errorf("no service %s", name)
	}
	delete(s.services, name)
	if found.Pid == 0 {
		return nil
	}
	return syscall.Kill(found.Pid, syscall.SIGKILL)
}

func (s *supervisor) signal(name string, number int) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	found, known := s.services[name]
	if !known {
		return fmt.Errorf("no service %s", name)
	}
	if found.Pid == 0 {
		return fmt.Errorf("%s is down", name)
	}
	return syscall.Kill(found.Pid, syscall.Signal(number))
}

func (s *supervisor) list() []service {
	s.lock.Lock()
	defer s.lock.Unlock()
	listed := make([]service, 0, len(s.services))
	for _, each := range s.services {
		listed = append(listed, *each)
	}
	return listed
}

func (s *supervisor) reap() {
	for {
		s.lock.Lock()
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err != nil || pid <= 0 {
			s.lock.Unlock()
			return
		}
		for _, each := range s.services {
			if each.Pid == pid {
				each.Pid = 0
				time.AfterFunc(restartAfter, func() { s.restart(each.Name) })
			}
		}
		s.lock.Unlock()
	}
}

func (s *supervisor) restart(name string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	each, wanted := s.services[name]
	if !wanted || each.Pid != 0 {
		return
	}
	each.Restarts++
	if err := each.launch(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot start %s again: %v\n", name, err)
		time.AfterFunc(restartAfter, func() { s.restart(name) })
	}
}

// launch starts the program; the caller holds the lock, so that its end is not reaped before its id is known.
func (s *service) launch() error {
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	log, err := openLog(s.Name)
	if err != nil {
		return err
	}
	defer log.Close()
	process, err := os.StartProcess(s.Program, append([]string{s.Program}, s.Arguments...), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []*os.File{nothing, log, log},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	s.Pid = process.Pid
	return process.Release()
}

func openLog(name string) (*os.File, error) {
	if err := os.MkdirAll("logs", 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join("logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}
