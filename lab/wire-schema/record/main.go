// Command record lets two versions of kubectl create the same objects against a stand-in API server and keeps what they
// send: the older one JSON, the newer one protobuf. The apiserver crate's tests decode the one and compare it with the
// other.
//
//	go run ./record -json kubectl.1.31 -protobuf kubectl.1.32 -out ../../crates/apiserver/tests/bodies
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// recipes are the kubectl commands whose bodies are kept, by the name of the files.
var recipes = []struct{ name, command string }{
	{"configmap", "create configmap settings --from-literal=a=1 --from-literal=empty="},
	{"secret-generic", "create secret generic keys --from-literal=user=me"},
	{"secret-tls", "create secret tls cert --cert=@cert --key=@key"},
	{"deployment", "create deployment web --image=nginx --replicas=3 --port=80"},
	{"deployment-none", "create deployment none --image=nginx --replicas=0"},
	{"namespace", "create namespace shop"},
	{"ingress", "create ingress web --class=fairway --rule=web.test/a*=web:80,tls=cert --default-backend=web:http"},
	{"service-clusterip", "create service clusterip web --tcp=80:8080"},
	{"service-headless", "create service clusterip none --clusterip=None"},
	{"service-nodeport", "create service nodeport web --tcp=80:8080 --node-port=30080"},
	{"service-externalname", "create service externalname out --external-name=example.com"},
	{"serviceaccount", "create serviceaccount robot"},
	{"clusterrole", "create clusterrole reader --verb=get --resource=pods,deployments.apps --non-resource-url=/metrics"},
	{"role", "create role reader --verb=get --resource=pods --resource-name=web"},
	{"clusterrolebinding", "create clusterrolebinding all --clusterrole=reader --serviceaccount=shop:robot --user=me"},
	{"rolebinding", "create rolebinding some --role=reader --group=team"},
	{"poddisruptionbudget", "create poddisruptionbudget web --selector=app=web --min-available=50%"},
	{"quota", "create quota all --hard=cpu=1500m,memory=1Gi,pods=10"},
	{"priorityclass", "create priorityclass high --value=1000 --description=first"},
	{"job", "create job once --image=busybox -- sleep 1"},
	{"cronjob", "create cronjob often --image=busybox --schedule=@hourly -- date"},
	{"token", "create token robot --duration=10m"},
	{"autoscale", "autoscale deployment web --min=1 --max=5 --cpu-percent=80"},
	{"can-i", "auth can-i create pods/log --namespace shop"},
	{"whoami", "auth whoami"},
	{"delete-options", "drain node1 --force --disable-eviction --grace-period=5 --timeout=2s"},
}

func main() {
	log.SetFlags(0)
	jsonKubectl := flag.String("json", "kubectl.1.31", "a kubectl that sends JSON")
	protobufKubectl := flag.String("protobuf", "kubectl.1.32", "a kubectl that sends protobuf")
	out := flag.String("out", "bodies", "where the bodies go")
	flag.Parse()
	if err := record(*jsonKubectl, *protobufKubectl, *out); err != nil {
		log.Fatal(err)
	}
}

func record(jsonKubectl, protobufKubectl, out string) error {
	home, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	if err := writeCertificate(home); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, recipe := range recipes {
		for extension, kubectl := range map[string]string{"json": jsonKubectl, "pb": protobufKubectl} {
			body, err := bodyOf(kubectl, home, recipe.command)
			if err != nil {
				return fmt.Errorf("%s %s: %w", kubectl, recipe.command, err)
			}
			if err := os.WriteFile(filepath.Join(out, recipe.name+"."+extension), body, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// bodyOf runs one command and returns the last body it sent in a POST or DELETE.
func bodyOf(kubectl, home, command string) ([]byte, error) {
	standIn := &standIn{}
	server := httptest.NewServer(standIn)
	defer server.Close()
	words := strings.Fields(command)
	for i, word := range words {
		word = strings.ReplaceAll(word, "@cert", filepath.Join(home, "tls.crt"))
		word = strings.ReplaceAll(word, "@key", filepath.Join(home, "tls.key"))
		words[i] = word
	}
	cmd := exec.Command(kubectl, append([]string{"--server", server.URL, "--cache-dir", filepath.Join(home, "cache")}, words...)...)
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + filepath.Join(home, "none")}
	output, err := cmd.CombinedOutput()
	if standIn.body == nil {
		return nil, fmt.Errorf("sent nothing: %w\n%s", err, output)
	}
	return standIn.body, nil
}
