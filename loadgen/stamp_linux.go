//go:build linux && (amd64 || arm64)

package loadgen

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// stampConn is a socket whose reads say when the data arrived: by the kernel's
// receive stamp (SO_TIMESTAMPNS), which a busy process cannot delay, and by the
// moment after the read. It sits below TLS.
type stampConn struct {
	net.Conn
	raw syscall.RawConn
	fd  uintptr

	kernel int64     // the stamp of the latest read, ns since 1970; 0 without one
	after  time.Time // the moment after the latest read, on both clocks
}

// receiver is what one read takes in memory that the kernel writes to. A pump has one
// for all its sockets: of each socket that has something to read, as little as can be
// has to be fetched into the processor's caches.
type receiver struct {
	buf  []byte                // where to read to
	read func(fd uintptr) bool // made once, so that a read allocates nothing
	msg  syscall.Msghdr
	iov  syscall.Iovec
	oob  [64]byte
	n    int
	err  syscall.Errno
}

var receivers = sync.Pool{New: func() any {
	r := new(receiver)
	r.msg.Iov = &r.iov
	r.msg.Iovlen = 1
	r.read = r.receive
	return r
}}

// borrowReceiver takes a receiver that reads to buf.
func borrowReceiver(buf []byte) *receiver {
	r := receivers.Get().(*receiver)
	r.buf = buf
	return r
}

// giveBack lets others have it.
func (r *receiver) giveBack() {
	r.buf, r.iov.Base = nil, nil
	receivers.Put(r)
}

const sizeofStamp = syscall.SizeofCmsghdr + 16 // a control header and a timespec

// newStampConn asks the kernel to stamp what c receives. Where it cannot, or c
// is no socket, reads are stamped by the moment after them.
func newStampConn(c net.Conn) *stampConn {
	s := &stampConn{Conn: c}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return s
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return s
	}
	// LOUD: a kernel that stamps nothing (some sandboxes), or a socket that was closed just
	// now, is read in the same way all the same: a pump reads without waiting, and for that
	// there is this way only.
	_ = raw.Control(func(fd uintptr) {
		s.fd = fd
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
	})
	s.raw = raw
	return s
}

// receive is one attempt to read; false means that there is nothing yet.
//
// It never blocks, so the system call need not tell the scheduler.
func (r *receiver) receive(fd uintptr) bool {
	r.iov.Base = &r.buf[0]
	r.iov.SetLen(len(r.buf))
	for {
		r.msg.Control = &r.oob[0]
		r.msg.SetControllen(len(r.oob))
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.msg)), syscall.MSG_DONTWAIT)
		if errno == syscall.EINTR {
			continue
		}
		r.n, r.err = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// Read reads into p and notes when the data arrived. Where one read takes in
// several packets the stamp is the last one's.
func (s *stampConn) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		n, err := s.Conn.Read(p)
		s.after = time.Now()
		return n, err
	}
	r := borrowReceiver(p)
	defer r.giveBack()
	return s.got(r, s.raw.Read(r.read))
}

// attempt is Read into r without waiting: the error is errAgain where nothing is
// there. LOUD: the socket must not be closed meanwhile, which its mutex sees to.
func (s *stampConn) attempt(r *receiver) (int, error) {
	if !r.receive(s.fd) {
		return 0, errAgain
	}
	return s.got(r, nil)
}

// got is what a read brought, and notes when.
func (s *stampConn) got(r *receiver, err error) (int, error) {
	s.after = time.Now()
	s.kernel = 0
	switch {
	case err != nil:
		return 0, err
	case r.err != 0:
		return 0, &net.OpError{Op: "read", Net: "tcp", Addr: s.RemoteAddr(), Err: os.NewSyscallError("recvmsg", r.err)}
	case r.n == 0:
		return 0, io.EOF
	}
	s.kernel = r.stamp()
	return r.n, nil
}

// stamp reads the receive stamp from the control data; 0 where there is none.
func (r *receiver) stamp() int64 {
	if r.msg.Controllen < sizeofStamp {
		return 0
	}
	header := (*syscall.Cmsghdr)(unsafe.Pointer(&r.oob[0]))
	if header.Level != syscall.SOL_SOCKET || header.Type != syscall.SO_TIMESTAMPNS || header.Len < sizeofStamp {
		return 0
	}
	at := r.oob[syscall.SizeofCmsghdr:]
	return int64(binary.NativeEndian.Uint64(at))*int64(time.Second) + int64(binary.NativeEndian.Uint64(at[8:]))
}
