// One machine of the lab, as namespaces: its process 1.
//
//	machine boot SPEC   starts the machine described in the file SPEC and returns
//	machine run SPEC    is its process 1; `boot` starts it in namespaces of its own
//
// When process 1 ends, however it ends, the kernel ends every process, mount and interface of the machine with it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// spec is what a machine is made of. Sources of mounts, the socket and the logs are relative to the file's folder.
type spec struct {
	Hostname string
	Mounts   []mount
}

const (
	// By this name whoever looks for a machine finds it in the list of processes.
	processName = "fairway-lab-machine"
	socketName  = "control.sock"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: %s boot|run SPEC", filepath.Base(os.Args[0])))
	}
	verb, path := os.Args[1], os.Args[2]
	switch verb {
	case "boot":
		fail(boot(path))
	case "run":
		fail(run(path))
	default:
		fail(fmt.Errorf("no such verb: %s", verb))
	}
}

func fail(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "machine:", err)
	os.Exit(1)
}

func boot(path string) error {
	log, err := os.OpenFile(filepath.Join(filepath.Dir(path), "machine.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	command := exec.Command("/proc/self/exe", "run", path)
	command.Args[0] = processName
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	return command.Start()
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var machine spec
	if err := json.Unmarshal(text, &machine); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if err := os.Chdir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(machine.Hostname)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	// Before the mounts, which may cover the way to this folder.
	listener, err := listen()
	if err != nil {
		return err
	}
	if err := mountAll(machine.Mounts); err != nil {
		return err
	}
	return newSupervisor().serve(listener)
}
