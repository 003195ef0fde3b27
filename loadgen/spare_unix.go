//go:build unix

package loadgen

import (
	"fmt"
	"syscall"
)

// filesSpared is how many file descriptors the requests leave to everything else:
// the result and the report must be stored whatever the load took, and the
// server's metrics read meanwhile. Of a small limit it is a quarter.
const filesSpared = 32

// spareFiles refuses a socket for a request that would take one of the last
// descriptors; it is a net.Dialer's Control, called before the socket connects.
// The system gives out the lowest number that is free, so a number below the
// spared ones means that as many are free above it, whoever holds the others;
// there is nothing to count and nothing to give back.
func spareFiles(_, _ string, c syscall.RawConn) error {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return nil
	}
	spared := min(filesSpared, limit.Cur/4)
	taken := false
	if err := c.Control(func(fd uintptr) { taken = uint64(fd) >= uint64(limit.Cur-spared) }); err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("%w: of the %d that this process may have, the last %d are left to the result; raise the limit (ulimit -n)", syscall.EMFILE, limit.Cur, spared)
	}
	return nil
}
