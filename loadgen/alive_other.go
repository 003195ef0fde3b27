//go:build !unix

package loadgen

import "net"

// peek cannot look at a connection here; a request that runs into a closed one
// is replayed.
func peek(net.Conn) (closed, unread bool) { return false, false }
