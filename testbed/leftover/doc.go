// Package leftover creates and removes what a node has outside of the instance's directory: cgroups, mounts, containerd shims,
// and files of the kubelet and of CNI plugins.
package leftover
