package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unicode"

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
		JoinTimeout: f.JoinTimeout, Measured: f.Shares == config.MeasuredShares, Version: version().version, Notice: func(text string) { b.notice("%s", text) },
	}, setup)
	if err != nil {
		return err
	}
	b.onClose(b.fleet.Close)
	if f.LocalWorkers {
		for i := range f.Workers {
			if err := b.startWorker(fmt.Sprintf("local-%d", i+1), token); err != nil {
				return err
			}
		}
	} else {
		b.notice("waiting for %d workers; on each load machine:\n  %s", f.Workers, joinLine(b.file, b.fleet.Address(), shown))
	}
	return b.fleet.Gather(ctx)
}

// joinLine is what is to be typed on a load machine, with the token unless it is empty.
func joinLine(file *config.File, address string, token loadgen.Secret) string {
	f := file.Fleet
	line := "capfind worker --join " + address
	if f.NATSURL == "" && token != "" {
		line = tokenVariable + "=" + token.Reveal() + " " + line
	}
	if f.Name != config.Default().Fleet.Name {
		line += " --fleet " + f.Name
	}
	for _, own := range ownedBy(file) {
		line += fmt.Sprintf(" --%s %s", own.flag, shellQuoted(own.value))
	}
	return line
}

// owned is a key that names something of the machine itself.
type owned struct{ key, flag, value string }

// ownedBy are the keys of a configuration that name variables and files: what a worker
// reads of its machine is for its owner to say, and not for whoever holds the token.
func ownedBy(f *config.File) []owned {
	all := []owned{
		{"target.api_key_env", "api-key-env", f.Target.APIKeyEnv}, {"target.api_key_file", "api-key-file", f.Target.APIKeyFile},
		{"target.ca_file", "ca-file", f.Target.CAFile}, {"target.client_cert", "client-cert", f.Target.ClientCert},
		{"target.client_key", "client-key", f.Target.ClientKey}, {"target.unix_socket", "unix-socket", f.Target.UnixSocket}, {"workload.path", "dataset-path", f.Workload.Path},
	}
	return slices.DeleteFunc(all, func(o owned) bool { return o.value == "" })
}

// shellQuoted is a word as a shell takes it.
func shellQuoted(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("-_./:=@%+,", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// mostRestarts is how often a local worker that died is started again.
const mostRestarts = 3

// startWorker starts a worker as a process on this machine, and again where it dies: the
// load that it had a part in is sent anew. It ends with this process, whatever becomes of
// it: its standard input ends then.
func (b *bench) startWorker(name string, token loadgen.Secret) error {
	w, err := b.launch(name, token)
	if err != nil {
		return fmt.Errorf("no local worker could be started: %w", err)
	}
	closing, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for restarts := 0; ; restarts++ {
			select {
			case err = <-w.ended:
			case <-closing:
				w.end()
				return
			}
			if restarts == mostRestarts {
				b.notice("the local worker %s ended: %v: %s; it was started again %d times and is not any more", name, err, w.said.text(), restarts)
				return
			}
			b.notice("the local worker %s ended: %v: %s; starting it again", name, err, w.said.text())
			if w, err = b.launch(name, token); err != nil {
				b.notice("the local worker %s could not be started again: %v", name, err)
				return
			}
		}
	}()
	b.onClose(func() {
		close(closing)
		<-ended
	})
	return nil
}

// process is a worker on this machine.
type process struct {
	cmd   *exec.Cmd
	leash io.Closer // it ends when this is closed
	said  *lastLines
	ended chan error
}

func (b *bench) launch(name string, token loadgen.Secret) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd:  exec.Command(self, "worker", "--join", b.fleet.Address(), "--name", name, "--fleet", b.file.Fleet.Name, "--leashed"),
		said: &lastLines{}, ended: make(chan error, 1),
	}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), tokenVariable+"="+token.Reveal()), p.said
	if p.leash, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// end asks the worker to end, and makes it.
func (p *process) end() {
	p.leash.Close()
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill() // it has ended if that fails
	}
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
