package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/capfind/capfind/internal/config"
	"github.com/capfind/capfind/internal/fleet"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/api"
	"github.com/capfind/capfind/loadgen/prompt"
)

// tokenVariable is where the token of a fleet comes from: never a flag, which others on
// the machine can read.
const tokenVariable = "CAPFIND_FLEET_TOKEN"

// fleetSetup is what a worker must know to send the same requests as this process would:
// the configuration without its secrets, and what the probe found.
type fleetSetup struct {
	Config  string       `json:"config"` // YAML
	BaseURL string       `json:"base_url"`
	API     string       `json:"api"`
	Options api.Options  `json:"options"`
	Sizer   prompt.Sizer `json:"sizer"`
}

// gatherFleet opens the fleet where the configuration has one, and waits until it is
// complete.
func (b *bench) gatherFleet(ctx context.Context) error {
	f := b.file.Fleet
	if f.Workers == 0 {
		return nil
	}
	for name, value := range b.target.Headers {
		if value != "" && !f.LocalWorkers {
			b.notice("warning: the header %s is not sent to workers: give it to each by --header", name)
		}
	}
	token := loadgen.Secret(os.Getenv(tokenVariable))
	shown := loadgen.Secret("") // who gave it has it: in a log it would be everybody's
	if token == "" {
		token = fleet.NewToken()
		shown = token
	}
	listen := f.Listen
	if f.LocalWorkers && !b.file.Given("fleet.listen") {
		listen = "127.0.0.1:0"
	}
	setup, err := json.Marshal(fleetSetup{
		Config: string(b.file.YAML()), BaseURL: b.target.BaseURL, API: b.found.Protocol.Name(), Options: b.found.Options, Sizer: b.found.Sizer,
	})
	if err != nil {
		return err
	}
	b.fleet, err = fleet.Open(ctx, fleet.Config{
		Name: f.Name, URL: f.NATSURL, Listen: listen, Dir: fleet.Dir(b.store.Dir()), Token: token, Workers: f.Workers,
		JoinTimeout: f.JoinTimeout, Version: version().version, Notice: func(text string) { b.notice("%s", text) },
	}, setup)
	if err != nil {
		return err
	}
	b.onClose(b.fleet.Close)
	if f.LocalWorkers {
		for i := range f.Workers {
			if err := b.startWorker(i+1, token); err != nil {
				return err
			}
		}
	} else {
		b.notice("waiting for %d workers; on each load machine:\n  %s", f.Workers, joinLine(f, b.fleet.Address(), shown))
	}
	return b.fleet.Gather(ctx)
}

// joinLine is what is to be typed on a load machine, with the token unless it is empty.
func joinLine(f config.Fleet, address string, token loadgen.Secret) string {
	line := "capfind worker --join " + address
	if f.NATSURL == "" && token != "" {
		line = tokenVariable + "=" + token.Reveal() + " " + line
	}
	if f.Name != config.Default().Fleet.Name {
		line += " --fleet " + f.Name
	}
	return line
}

// startWorker starts a worker as a process on this machine. It ends with this process,
// whatever becomes of it: its standard input ends then.
func (b *bench) startWorker(number int, token loadgen.Secret) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("no local worker could be started: %w", err)
	}
	name := fmt.Sprintf("local-%d", number)
	cmd := exec.Command(self, "worker", "--join", b.fleet.Address(), "--name", name, "--fleet", b.file.Fleet.Name, "--leashed")
	cmd.Env = append(os.Environ(), tokenVariable+"="+token.Reveal())
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	said := &lastLines{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("no local worker could be started: %w", err)
	}
	ended := make(chan error, 1)
	closing := make(chan struct{})
	go func() {
		err := cmd.Wait()
		select {
		case <-closing:
		default:
			b.notice("the local worker %s ended: %v: %s", name, err, said.text())
		}
		ended <- err
	}()
	b.onClose(func() {
		close(closing)
		leash.Close()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill() // it has ended if that fails
		}
	})
	return nil
}

// lastLines keeps the end of what a process says.
type lastLines struct{ buf []byte }

const lastBytes = 2000

func (l *lastLines) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	if len(l.buf) > lastBytes {
		l.buf = l.buf[len(l.buf)-lastBytes:]
	}
	return len(p), nil
}

func (l *lastLines) text() string {
	lines := strings.Split(strings.TrimSpace(string(l.buf)), "\n")
	return lines[len(lines)-1]
}
