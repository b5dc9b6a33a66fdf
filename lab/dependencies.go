//go:build dependencies

// What the lab builds from other modules as it is, so that `go mod tidy` keeps its versions here.
package lab

import (
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/regression-issue-74839"
)
