package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one thing the machine sees otherwise than the host does.
type mount struct {
	// bind: the folder or file Source; overlay: the host's folder below the folder Source; tmpfs.
	Kind   string
	Source string
	Target string
}

// mountAll makes the machine's own view of the files; nothing of it reaches the host.
func mountAll(mounts []mount) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot part from the host's mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	for _, each := range mounts {
		if err := each.apply(); err != nil {
			return fmt.Errorf("cannot mount %s on %s: %w", each.Kind, each.Target, err)
		}
	}
	// Volumes that a container runtime mounts are to be seen by the pods that share them.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot share mounts within the machine: %w", err)
	}
	return nil
}

func (m mount) apply() error {
	switch m.Kind {
	case "bind":
		return unix.Mount(m.Source, m.Target, "", unix.MS_BIND|unix.MS_REC, "")
	case "overlay":
		upper, work := filepath.Join(m.Source, "upper"), filepath.Join(m.Source, "work")
		for _, folder := range []string{upper, work} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", m.Target, upper, work)
		return unix.Mount("overlay", m.Target, "overlay", 0, options)
	case "tmpfs":
		return unix.Mount("tmpfs", m.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
	default:
		return fmt.Errorf("no such kind of mount")
	}
}
