// Package browsertest starts a real browser for tests of the pages that people look at.
// Only tests import it.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Need skips a test on a machine that lacks a tool, except in CI, where a skipped
// test would hide that nobody looks at the page any more.
func Need(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed in CI: %v", what, err)
	}
	t.Skipf("%s is not here: %v", what, err)
}

// Start starts Chromium with a profile of its own and without a network of its own.
// stop ends it and removes the profile; it is there even with an error.
func Start() (ctx context.Context, stop func() error, err error) {
	stop = func() error { return nil }
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, stop, err
	}
	profile, err := os.MkdirTemp("", "capfind-browser")
	if err != nil {
		return nil, stop, err
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true))...)
	ctx, cancel := chromedp.NewContext(allocator)
	return ctx, func() error {
		cancel()
		end()
		return os.RemoveAll(profile)
	}, chromedp.Run(ctx)
}
