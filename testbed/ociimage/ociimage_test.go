package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAnImageLeadsFromItsNameToItsProgram(t *testing.T) {
	var out bytes.Buffer
	if err := Write(&out, "localhost/pause:1", "pause", []byte("a program")); err != nil {
		t.Fatal(err)
	}
	files := untar(t, out.Bytes())
	var index v1.Index
	decode(t, files[v1.ImageIndexFile], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations[nameAnnotation] != "localhost/pause:1" {
		t.Fatalf("the index is %+v", index)
	}
	var manifest v1.Manifest
	decode(t, blob(t, files, index.Manifests[0]), &manifest)
	var config v1.Image
	decode(t, blob(t, files, manifest.Config), &config)
	layer := blob(t, files, manifest.Layers[0])
	if config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Error("the configuration names another layer")
	}
	if config.Config.Entrypoint[0] != "/pause" || string(untar(t, layer)["pause"]) != "a program" {
		t.Error("the entry point is not the program")
	}
	if _, ok := files[v1.ImageLayoutFile]; !ok {
		t.Error("the archive does not say that it is an image layout")
	}
}

func TestTheSameImageIsWrittenTheSame(t *testing.T) {
	var one, two bytes.Buffer
	if err := errors.Join(Write(&one, "i:1", "p", []byte("x")), Write(&two, "i:1", "p", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("two archives of one image differ")
	}
}

func TestAFullDiskIsNoticed(t *testing.T) {
	if err := Write(full{}, "i:1", "p", []byte("x")); err == nil {
		t.Error("no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func blob(t *testing.T, files map[string][]byte, d v1.Descriptor) []byte {
	t.Helper()
	data, ok := files["blobs/sha256/"+d.Digest.Encoded()]
	if !ok || int64(len(data)) != d.Size || d.Digest.Algorithm().FromBytes(data) != d.Digest {
		t.Fatalf("there is no blob as described by %+v", d)
	}
	return data
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
