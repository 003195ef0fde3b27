// Package kubernetes checks the manifest beside it: against the types of the
// Kubernetes API, and its configuration against capfind itself.
package kubernetes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// documents returns the manifest's documents, strictly decoded: a key that the
// API does not know is an error.
func documents(t *testing.T) (config corev1.ConfigMap, claim corev1.PersistentVolumeClaim, job batchv1.Job) {
	t.Helper()
	b, err := os.ReadFile("sweep.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := bytes.Split(b, []byte("\n---\n"))
	if len(parts) != 3 {
		t.Fatalf("%d documents", len(parts))
	}
	for i, into := range []any{&config, &claim, &job} {
		if err := yaml.UnmarshalStrict(parts[i], into); err != nil {
			t.Fatalf("document %d: %v", i+1, err)
		}
	}
	return config, claim, job
}

func TestManifestHangsTogether(t *testing.T) {
	config, claim, job := documents(t)
	pod := job.Spec.Template.Spec
	mounted := map[string]string{}
	for _, m := range pod.Containers[0].VolumeMounts {
		mounted[m.Name] = m.MountPath
	}
	for _, v := range pod.Volumes {
		if mounted[v.Name] == "" {
			t.Errorf("volume %s is mounted nowhere", v.Name)
		}
		delete(mounted, v.Name)
		switch {
		case v.ConfigMap != nil && v.ConfigMap.Name != config.Name:
			t.Errorf("no ConfigMap %s", v.ConfigMap.Name)
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName != claim.Name:
			t.Errorf("no claim %s", v.PersistentVolumeClaim.ClaimName)
		}
	}
	if len(mounted) > 0 {
		t.Errorf("mounts without a volume: %v", mounted)
	}
	security := pod.Containers[0].SecurityContext
	if !*pod.SecurityContext.RunAsNonRoot || !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation {
		t.Error("the pod runs with more rights than it needs")
	}
}

func TestConfigIsValid(t *testing.T) {
	config, _, _ := documents(t)
	path := filepath.Join(t.TempDir(), "capfind.yaml")
	if err := os.WriteFile(path, []byte(config.Data["capfind.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "./cmd/capfind", "validate", path)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestArgumentsAreKnown(t *testing.T) {
	_, _, job := documents(t)
	cmd := exec.Command("go", "run", "./cmd/capfind", "sweep", "--help")
	cmd.Dir = "../.."
	help, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	for _, arg := range job.Spec.Template.Spec.Containers[0].Args {
		if strings.HasPrefix(arg, "-") && !strings.Contains(string(help), arg) {
			t.Errorf("capfind sweep has no %s", arg)
		}
	}
}
