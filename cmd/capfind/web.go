package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/fleet"
	"github.com/capfind/capfind/internal/live"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep/control"
)

// webFlags are those of the page that follows a measurement.
func webFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "web", Usage: "serve a page that shows the measurement as it goes; its address is printed on stderr", DisableDefaultText: true},
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

// crew is a fleet whose workers are told apart on the page.
type crew struct{ *fleet.Hub }

// Workers implements control.Crew.
func (c crew) Workers() []control.Worker {
	var all []control.Worker
	for _, s := range c.Status() {
		all = append(all, control.Worker(s))
	}
	return all
}

// startWeb serves the page where it is asked for.
func (b *bench) startWeb(c *cli.Context) error {
	listen := b.file.Web.Listen
	if listen == "" && (c.Bool("web") || c.Bool("open")) {
		listen = "127.0.0.1:0"
	}
	if listen == "" {
		return nil
	}
	title := b.file.Output.Name
	if title == "" {
		title = "capfind " + c.Command.Name
	}
	web, err := live.Start(live.Config{Listen: listen, Title: title, Command: c.Command.Name, Language: report.Language(b.file.Report.Language)})
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

// handOver puts the report, where one was written, in the page's place; else the page
// says how it ended. An older report in a resumed run's directory is not shown.
func (b *bench) handOver(ended error, written bool) {
	if b.web == nil {
		return
	}
	words := "the measurement is over"
	if ended != nil {
		words = "the measurement ended: " + ended.Error()
	}
	var html []byte
	if written {
		var err error
		if html, err = os.ReadFile(filepath.Join(b.store.Dir(), "report.html")); err != nil && !errors.Is(err, os.ErrNotExist) {
			b.logf("the page could not be given the report: %v", err)
		}
	}
	b.web.Finish(html, words)
}
