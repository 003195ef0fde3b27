// Package kubernetes checks the manifests beside it: against the types of the Kubernetes
// API, and what they give capfind against capfind itself.
package kubernetes

import (
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/capfind/capfind/packaging/internal/program"
)

// manifest is what a file holds, by kind and name.
type manifest struct {
	configs  map[string]corev1.ConfigMap
	claims   map[string]corev1.PersistentVolumeClaim
	services map[string]corev1.Service
	jobs     map[string]batchv1.Job
	policies map[string]networkingv1.NetworkPolicy
}

// decode decodes a manifest strictly: a key that the API does not know is an error.
func decode(t *testing.T, text string) manifest {
	t.Helper()
	m := manifest{map[string]corev1.ConfigMap{}, map[string]corev1.PersistentVolumeClaim{}, map[string]corev1.Service{}, map[string]batchv1.Job{}, map[string]networkingv1.NetworkPolicy{}}
	for part := range strings.SplitSeq(text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(part), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "ConfigMap":
			keep(t, part, "v1", m.configs)
		case "PersistentVolumeClaim":
			keep(t, part, "v1", m.claims)
		case "Service":
			keep(t, part, "v1", m.services)
		case "Job":
			keep(t, part, "batch/v1", m.jobs)
		case "NetworkPolicy":
			keep(t, part, "networking.k8s.io/v1", m.policies)
		default:
			t.Errorf("a %q has no business here", kind.Kind)
		}
	}
	return m
}

func keep[T any](t *testing.T, part, version string, into map[string]T) {
	t.Helper()
	var meta struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	var x T
	if err := yaml.UnmarshalStrict([]byte(part), &x); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(part), &meta); err != nil || meta.APIVersion != version || meta.Name == "" {
		t.Fatalf("%v: %+v", err, meta)
	}
	into[meta.Name] = x
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// each runs a test for every manifest.
func each(t *testing.T, test func(*testing.T, manifest)) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) { test(t, decode(t, read(t, file))) })
	}
}

func TestVolumes(t *testing.T) {
	each(t, func(t *testing.T, m manifest) {
		for name, job := range m.jobs {
			pod := job.Spec.Template.Spec
			mounted := map[string]string{}
			for _, v := range pod.Containers[0].VolumeMounts {
				mounted[v.Name] = v.MountPath
			}
			for _, v := range pod.Volumes {
				if mounted[v.Name] == "" {
					t.Errorf("%s: volume %s is mounted nowhere", name, v.Name)
				}
				delete(mounted, v.Name)
				if v.ConfigMap != nil && m.configs[v.ConfigMap.Name].Name == "" {
					t.Errorf("%s: no ConfigMap %s", name, v.ConfigMap.Name)
				}
				if v.PersistentVolumeClaim != nil && m.claims[v.PersistentVolumeClaim.ClaimName].Name == "" {
					t.Errorf("%s: no claim %s", name, v.PersistentVolumeClaim.ClaimName)
				}
			}
			if len(mounted) > 0 {
				t.Errorf("%s: mounts without a volume: %v", name, mounted)
			}
		}
	})
}

// No pod may more than it needs, and every client gets the CPU that it counts on.
func TestRights(t *testing.T) {
	each(t, func(t *testing.T, m manifest) {
		for name, job := range m.jobs {
			pod := job.Spec.Template.Spec
			c := pod.Containers[0]
			if s := pod.SecurityContext; !*s.RunAsNonRoot || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
				t.Errorf("%s: the pod runs with more rights than it needs", name)
			}
			if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s: the container runs with more rights than it needs", name)
			}
			if r := c.Resources; r.Requests.Cpu().Cmp(*r.Limits.Cpu()) != 0 || r.Limits.Cpu().IsZero() || r.Limits.Memory().IsZero() {
				t.Errorf("%s: resources %+v", name, r)
			}
			for _, e := range c.Env {
				if strings.Contains(e.Name, "KEY") || strings.Contains(e.Name, "TOKEN") {
					if e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
						t.Errorf("%s: %s does not come from a Secret", name, e.Name)
					}
				}
			}
		}
	})
}

func TestWhatCapfindIsGiven(t *testing.T) {
	each(t, func(t *testing.T, m manifest) {
		for _, config := range m.configs {
			program.Accepts(t, config.Data["capfind.yaml"])
		}
		for _, job := range m.jobs {
			program.Takes(t, job.Spec.Template.Spec.Containers[0].Args)
		}
	})
}

// argument is what follows a flag.
func argument(job batchv1.Job, flag string) string {
	args := job.Spec.Template.Spec.Containers[0].Args
	if i := slices.Index(args, flag); i >= 0 {
		return args[i+1]
	}
	return ""
}

func env(job batchv1.Job, name string) *corev1.EnvVarSource {
	for _, e := range job.Spec.Template.Spec.Containers[0].Env {
		if e.Name == name {
			return e.ValueFrom
		}
	}
	return nil
}

// given is what the fleet's configuration says.
type given struct {
	Target struct {
		BaseURL string `json:"base_url"`
	} `json:"target"`
	Fleet struct {
		Workers int32  `json:"workers"`
		Listen  string `json:"listen"`
		NATSURL string `json:"nats_url"`
	} `json:"fleet"`
}

func TestFleetFindsTogether(t *testing.T) {
	m := decode(t, read(t, "fleet.yaml"))
	decide, worker, service := m.jobs["capfind-fleet"], m.jobs["capfind-worker"], m.services["capfind-fleet"]
	var config given
	if err := yaml.Unmarshal([]byte(m.configs["capfind-fleet"].Data["capfind.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	if s := worker.Spec; *s.CompletionMode != batchv1.IndexedCompletion || *s.Completions != config.Fleet.Workers || *s.Parallelism != config.Fleet.Workers {
		t.Errorf("%d workers are waited for, and %d of %d run", config.Fleet.Workers, *s.Parallelism, *s.Completions)
	}
	if decide.Spec.BackoffLimit == nil || *decide.Spec.BackoffLimit != 0 {
		t.Error("a sweep is started again by itself")
	}
	port := decide.Spec.Template.Spec.Containers[0].Ports[0]
	if p := service.Spec.Ports[0]; p.TargetPort.StrVal != port.Name || config.Fleet.Listen != ":4222" || port.ContainerPort != 4222 || p.Port != 4222 || argument(worker, "--join") != "capfind://"+service.Name+":4222" {
		t.Errorf("listens on %s, the service leads to %+v, and %s is joined", config.Fleet.Listen, p, argument(worker, "--join"))
	}
	if u, err := url.Parse(config.Target.BaseURL); err != nil || argument(worker, "--allow-target") != u.Hostname() {
		t.Errorf("%s is to be loaded, and %s may be", config.Target.BaseURL, argument(worker, "--allow-target"))
	}
	if a, b := env(decide, "CAPFIND_FLEET_TOKEN"), env(worker, "CAPFIND_FLEET_TOKEN"); !reflect.DeepEqual(a, b) || a.SecretKeyRef.Optional != nil {
		t.Error("the workers have another token")
	}
	if e := env(worker, "WORKER"); e == nil || e.FieldRef.FieldPath != "metadata.annotations['"+batchv1.JobCompletionIndexAnnotation+"']" || argument(worker, "--name") != "worker-$(WORKER)" {
		t.Error("a worker that comes back has another name")
	}
}

// What selects pods selects those that it should.
func TestSelectors(t *testing.T) {
	m := decode(t, read(t, "fleet.yaml"))
	pods := func(selector *metav1.LabelSelector) (out []string) {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		for name, job := range m.jobs {
			if s.Matches(labels.Set(job.Spec.Template.Labels)) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	decide, worker := []string{"capfind-fleet"}, []string{"capfind-worker"}
	if got := pods(&metav1.LabelSelector{MatchLabels: m.services["capfind-fleet"].Spec.Selector}); !slices.Equal(got, decide) {
		t.Errorf("the service leads to %v", got)
	}
	for name, want := range map[string][]string{"capfind-fleet": decide, "capfind-worker": worker} {
		p := m.policies[name]
		if got := pods(&p.Spec.PodSelector); !slices.Equal(got, want) || len(p.Spec.PolicyTypes) != 2 {
			t.Errorf("the policy %s holds for %v", name, got)
		}
	}
	in := m.policies["capfind-fleet"].Spec.Ingress
	if len(in) != 1 || !slices.Equal(pods(in[0].From[0].PodSelector), worker) || in[0].Ports[0].Port.IntValue() != 4222 || len(m.policies["capfind-worker"].Spec.Ingress) != 0 {
		t.Errorf("let in: %+v", in)
	}
	if out := m.policies["capfind-worker"].Spec.Egress; !slices.Equal(pods(out[1].To[0].PodSelector), decide) || out[1].Ports[0].Port.IntValue() != 4222 {
		t.Errorf("let out: %+v", out)
	}
	spread := m.jobs["capfind-worker"].Spec.Template.Spec.TopologySpreadConstraints
	if len(spread) != 1 || !slices.Equal(pods(spread[0].LabelSelector), worker) || spread[0].TopologyKey != corev1.LabelHostname {
		t.Errorf("spread %+v", spread)
	}
	for name, job := range m.jobs { // off the nodes of the server
		for _, a := range job.Spec.Template.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[:1] {
			if a.PodAffinityTerm.LabelSelector.MatchLabels["app.kubernetes.io/name"] != "vllm" {
				t.Errorf("%s keeps off %v", name, a.PodAffinityTerm.LabelSelector)
			}
		}
	}
}

// With a NATS cluster, by the lines that the manifest says are to be replaced.
func TestFleetOverACluster(t *testing.T) {
	text := read(t, "fleet.yaml")
	const cluster = "nats://nats.nats.svc.cluster.local:4222"
	head, body, _ := strings.Cut(text, "\napiVersion:")
	for from, to := range map[string]string{`listen: ":4222"`: "nats_url: " + cluster, "capfind://capfind-fleet:4222": cluster} {
		if !strings.Contains(head, from) || !strings.Contains(head, to) || strings.Count(body, from) != 1 {
			t.Errorf("the manifest does not tell how %s becomes %s", from, to)
		}
		body = strings.ReplaceAll(body, from, to)
	}
	m := decode(t, "apiVersion:"+body)
	config := m.configs["capfind-fleet"].Data["capfind.yaml"]
	program.Accepts(t, config)
	var g given
	if err := yaml.Unmarshal([]byte(config), &g); err != nil || g.Fleet.NATSURL != cluster || argument(m.jobs["capfind-worker"], "--join") != cluster {
		t.Errorf("%v, %+v", err, g)
	}
}
