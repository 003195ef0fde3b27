//go:build unix

package loadgen

import "syscall"

// What the system says when this machine itself is short of something: file
// descriptors, ports, buffers.
var errnoClientLimit = []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS}

// What it says when the peer gave up the connection.
var errnoReset = []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED}
