package loadgen

import (
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// cpuQuota is the number of CPUs this process may use: its affinity and the
// quotas of its control groups, whichever is least.
func cpuQuota() float64 {
	return min(float64(runtime.GOMAXPROCS(0)), float64(runtime.NumCPU()), cgroupQuota(os.DirFS("/")))
}

const noQuota = 1e9

// cgroupQuota is the smallest CPU quota of this process's control groups and of
// their parents, in CPUs; noQuota where there is none. In a container the path
// in /proc/self/cgroup may be the host's, so the mount's root is tried as well.
func cgroupQuota(root fs.FS) float64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return noQuota
	}
	least := float64(noQuota)
	for line := range strings.Lines(string(groups)) {
		// "0::/path" (version 2) or "7:cpu,cpuacct:/path" (version 1)
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		read, mounts := quotaV1, []string{"sys/fs/cgroup/" + parts[1], "sys/fs/cgroup/cpu"}
		if parts[1] == "" {
			read, mounts = quotaV2, []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}
		} else if !strings.Contains(","+parts[1]+",", ",cpu,") {
			continue
		}
		for _, mount := range mounts {
			for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
				least = min(least, read(root, path.Join(mount, dir)))
				if dir == "/" {
					break
				}
			}
		}
	}
	return least
}

// quotaV2 reads cpu.max: "max 100000" or "150000 100000".
func quotaV2(root fs.FS, dir string) float64 {
	fields := strings.Fields(readText(root, dir+"/cpu.max"))
	if len(fields) != 2 {
		return noQuota
	}
	return quotient(fields[0], fields[1])
}

func quotaV1(root fs.FS, dir string) float64 {
	return quotient(readText(root, dir+"/cpu.cfs_quota_us"), readText(root, dir+"/cpu.cfs_period_us"))
}

// quotient is quota / period; noQuota where either is no positive number.
func quotient(quota, period string) float64 {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return noQuota
	}
	return q / p
}

func readText(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// residentBytes is the memory this process holds.
func residentBytes() Number {
	fields := strings.Fields(readText(os.DirFS("/"), "proc/self/statm"))
	if len(fields) < 2 {
		return Number{}
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return Number{}
	}
	return Known(pages * float64(os.Getpagesize()))
}

// ephemeralPorts is the number of local ports for outgoing connections, which
// bounds the connections to one address.
func ephemeralPorts() Number {
	fields := strings.Fields(readText(os.DirFS("/"), "proc/sys/net/ipv4/ip_local_port_range"))
	if len(fields) != 2 {
		return Number{}
	}
	first, err1 := strconv.ParseFloat(fields[0], 64)
	last, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil {
		return Number{}
	}
	return Known(last - first + 1)
}
