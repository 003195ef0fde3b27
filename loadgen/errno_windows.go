package loadgen

import "syscall"

// What the system says when this machine itself is short of something: sockets,
// ports, buffers (Winsock's numbers).
var errnoClientLimit = []error{syscall.Errno(10024), syscall.Errno(10048), syscall.Errno(10049), syscall.Errno(10055)}

// What it says when the peer gave up the connection.
var errnoReset = []error{syscall.WSAECONNRESET, syscall.WSAECONNABORTED, syscall.ERROR_BROKEN_PIPE}
