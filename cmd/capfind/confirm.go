package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/capfind/capfind/internal/terminal"
)

// confirm asks before a target is loaded that is neither this machine nor in a
// private network: somebody else's server may mind, and somebody's bill grows.
func (a *app) confirm(ctx context.Context, baseURL string, yes bool) error {
	if yes || private(ctx, baseURL) {
		return nil
	}
	host := baseURL
	if u, err := url.Parse(baseURL); err == nil {
		host = u.Hostname()
	}
	if !terminal.Is(a.stdin) || !terminal.Is(a.stderr) {
		return usagef("%s is neither this machine nor in a private network: add --yes if it is yours to load", host)
	}
	fmt.Fprintf(a.stderr, "%s is neither this machine nor in a private network. Load it? [y/N] ", host)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return usagef("not confirmed; nothing was sent")
	case <-a.interrupt.requested():
		return outcomeError{exitInterrupted, "interrupted"}
	}
}

// private reports whether a URL's host is this machine or in a private network.
// A name counts as private where all its addresses are; one that does not
// resolve is left to the probe, which says so better.
func private(ctx context.Context, baseURL string) bool {
	u, err := url.Parse(baseURL)
	if err != nil {
		return true
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return privateAddr(addr)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return true
	}
	for _, addr := range addrs {
		if !privateAddr(addr) {
			return false
		}
	}
	return true
}

func privateAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	// 100.64/10 is the shared space of carrier and overlay networks.
	shared := netip.MustParsePrefix("100.64.0.0/10")
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || shared.Contains(addr)
}
