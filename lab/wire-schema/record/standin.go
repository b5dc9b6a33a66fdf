package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"
)

// standIn answers discovery and just enough reads for kubectl to go on, and keeps the last body it was sent.
type standIn struct {
	body []byte
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	if r.Method == http.MethodPost || r.Method == http.MethodDelete {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			log.Fatal(err)
		}
		s.body = body
		answer(w, http.StatusCreated, object{"kind": "Status", "apiVersion": "v1", "status": "Success"})
		return
	}
	if document, known := documents[path]; known {
		answer(w, http.StatusOK, document)
		return
	}
	answer(w, http.StatusNotFound, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
}

func answer(w http.ResponseWriter, code int, document object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(document); err != nil {
		log.Fatal(err)
	}
}

type object map[string]any

// documents are what can be read: unaggregated discovery, a node and a pod on it.
var documents = map[string]object{
	"api":  {"kind": "APIVersions", "versions": []string{"v1"}},
	"apis": groupList("apps/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1", "policy/v1", "batch/v1", "scheduling.k8s.io/v1", "authentication.k8s.io/v1", "authorization.k8s.io/v1", "autoscaling/v1"),
	"api/v1": resources("v1", "configmaps ConfigMap", "secrets Secret", "services Service", "serviceaccounts ServiceAccount",
		"serviceaccounts/token TokenRequest", "namespaces Namespace", "nodes Node", "pods Pod", "pods/log Pod", "pods/eviction Eviction", "resourcequotas ResourceQuota"),
	"apis/apps/v1":                      resources("apps/v1", "deployments Deployment", "deployments/scale Scale"),
	"apis/networking.k8s.io/v1":         resources("networking.k8s.io/v1", "ingresses Ingress"),
	"apis/rbac.authorization.k8s.io/v1": resources("rbac.authorization.k8s.io/v1", "clusterroles ClusterRole", "roles Role", "clusterrolebindings ClusterRoleBinding", "rolebindings RoleBinding"),
	"apis/policy/v1":                    resources("policy/v1", "poddisruptionbudgets PodDisruptionBudget"),
	"apis/batch/v1":                     resources("batch/v1", "jobs Job", "cronjobs CronJob"),
	"apis/scheduling.k8s.io/v1":         resources("scheduling.k8s.io/v1", "priorityclasses PriorityClass"),
	"apis/authentication.k8s.io/v1":     resources("authentication.k8s.io/v1", "selfsubjectreviews SelfSubjectReview"),
	"apis/authorization.k8s.io/v1":      resources("authorization.k8s.io/v1", "selfsubjectaccessreviews SelfSubjectAccessReview"),
	"apis/autoscaling/v1":               resources("autoscaling/v1", "horizontalpodautoscalers HorizontalPodAutoscaler"),
	"apis/apps/v1/namespaces/default/deployments/web": {
		"kind": "Deployment", "apiVersion": "apps/v1", "metadata": object{"name": "web", "namespace": "default"},
	},
	"api/v1/nodes/node1": {
		"kind": "Node", "apiVersion": "v1", "metadata": object{"name": "node1"}, "spec": object{"unschedulable": true},
	},
	"api/v1/pods": {"kind": "PodList", "apiVersion": "v1", "metadata": object{"resourceVersion": "1"}, "items": []object{{
		"metadata": object{"name": "web", "namespace": "default", "uid": "u"}, "spec": object{"nodeName": "node1"},
	}}},
}

func groupList(groupVersions ...string) object {
	groups := []object{}
	for _, groupVersion := range groupVersions {
		group, version, _ := strings.Cut(groupVersion, "/")
		served := object{"groupVersion": groupVersion, "version": version}
		groups = append(groups, object{"name": group, "versions": []object{served}, "preferredVersion": served})
	}
	return object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
}

// clusterScoped are the kinds without a namespace.
const clusterScoped = " Namespace Node ClusterRole ClusterRoleBinding PriorityClass SelfSubjectReview SelfSubjectAccessReview "

func resources(groupVersion string, entries ...string) object {
	list := []object{}
	for _, entry := range entries {
		plural, kind, _ := strings.Cut(entry, " ")
		resource := object{
			"name": plural, "kind": kind, "singularName": strings.ToLower(kind), "verbs": []string{"create", "get", "list", "delete", "patch"},
			"namespaced": !strings.Contains(clusterScoped, " "+kind+" "),
		}
		if kind == "Eviction" {
			resource["group"], resource["version"] = "policy", "v1"
		}
		list = append(list, resource)
	}
	return object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion, "resources": list}
}
