// Package ociimage writes a container image that contains a single program.
package ociimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// nameAnnotation is the annotation from which containerd reads the full reference of an image in an archive.
const nameAnnotation = "io.containerd.image.name"

// Write writes the OCI archive of an image that runs the program as /name.
func Write(w io.Writer, reference, name string, program []byte) error {
	layer, err := layerOf(name, program)
	if err != nil {
		return err
	}
	config := v1.Image{
		Platform: v1.Platform{Architecture: runtime.GOARCH, OS: runtime.GOOS},
		Config:   v1.ImageConfig{Entrypoint: []string{"/" + name}, User: "65535:65535"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
	archive := &archive{tar: tar.NewWriter(w)}
	manifest := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: archive.json(v1.MediaTypeImageConfig, config),
		Layers: []v1.Descriptor{archive.blob(v1.MediaTypeImageLayer, layer)},
	}
	descriptor := archive.json(v1.MediaTypeImageManifest, manifest)
	descriptor.Annotations = map[string]string{nameAnnotation: reference}
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{descriptor},
	})
	if err != nil {
		return err
	}
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	archive.file(v1.ImageIndexFile, index)
	archive.file(v1.ImageLayoutFile, layout)
	if archive.err != nil {
		return fmt.Errorf("write the image %s: %w", reference, archive.err)
	}
	return archive.tar.Close()
}

// layerOf returns a layer with the program.
func layerOf(name string, program []byte) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program)), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

// archive writes the files of an OCI archive. It keeps the first error, so that Write need not check each call.
type archive struct {
	tar *tar.Writer
	err error
}

func (a *archive) file(name string, data []byte) {
	if a.err == nil {
		a.err = a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR})
	}
	if a.err == nil {
		_, a.err = a.tar.Write(data)
	}
}

func (a *archive) blob(mediaType string, data []byte) v1.Descriptor {
	sum := digest.FromBytes(data)
	a.file("blobs/"+sum.Algorithm().String()+"/"+sum.Encoded(), data)
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(data))}
}

func (a *archive) json(mediaType string, value any) v1.Descriptor {
	data, err := json.Marshal(value)
	if a.err == nil {
		a.err = err
	}
	return a.blob(mediaType, data)
}
