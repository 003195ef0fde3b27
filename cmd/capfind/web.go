package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/live"
	"github.com/capfind/capfind/sweep/control"
)

// webFlags are those of the page that follows a measurement.
func webFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "web", Usage: "serve a page that shows the measurement as it goes; its address is printed on stderr", DisableDefaultText: true},
		&cli.StringFlag{Name: "web-listen", Value: "127.0.0.1:0", Usage: "with --web: the `ADDRESS` to serve it on; beyond loopback the page's address carries a token"},
		&cli.BoolFlag{Name: "open", Usage: "serve that page and open it in the browser", DisableDefaultText: true},
	}
}

// observers hear the same, one after the other.
type observers []control.Observer

// StepStarted implements control.Observer.
func (all observers) StepStarted(p control.StepPlan) {
	for _, o := range all {
		o.StepStarted(p)
	}
}

// StepDone implements control.Observer.
func (all observers) StepDone(s analysis.Step) {
	for _, o := range all {
		o.StepDone(s)
	}
}

// Notice implements control.Observer.
func (all observers) Notice(text string) {
	for _, o := range all {
		o.Notice(text)
	}
}

// observer is all who follow the measurement.
func (b *bench) observer() control.Observer {
	if b.web == nil {
		return b.console
	}
	return observers{b.console, b.web}
}

// startWeb serves the page where it is asked for.
func (b *bench) startWeb(c *cli.Context) error {
	if !c.Bool("web") && !c.Bool("open") && !c.IsSet("web-listen") {
		return nil
	}
	title := b.file.Output.Name
	if title == "" {
		title = "capfind " + c.Command.Name
	}
	web, err := live.Start(live.Config{Listen: c.String("web-listen"), Title: title, Command: c.Command.Name})
	if err != nil {
		return err
	}
	b.web = web
	b.onClose(web.Close)
	b.logf("watch it at %s", web.URL())
	if c.Bool("open") {
		if err := openBrowser(web.URL()); err != nil {
			b.logf("no browser could be started (%v): open the address above yourself", err)
		}
	}
	return nil
}

// openBrowser asks the desktop to show an address.
func openBrowser(url string) error {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie; what becomes of it is no concern of the measurement
	return nil
}

// handOver puts the written report in the page's place.
func (b *bench) handOver() error {
	if b.web == nil {
		return nil
	}
	html, err := os.ReadFile(filepath.Join(b.store.Dir(), "report.html"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // none was asked for: the page stays as it was
	}
	if err == nil {
		b.web.Finish(html)
	}
	return err
}
