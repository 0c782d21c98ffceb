// Package image writes single-binary images as OCI layout tarballs.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
)

const (
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	configType   = "application/vnd.oci.image.config.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	// nameAnnotation is what containerd names an imported image by.
	nameAnnotation = "io.containerd.image.name"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type blob struct {
	descriptor
	content []byte
}

// Write makes an image of that reference which runs the program as an unprivileged user, and nothing else. Equal
// programs make equal files.
func Write(file, reference, program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read program for image %s: %w", reference, err)
	}
	tarball, err := layout(reference, content)
	if err != nil {
		return fmt.Errorf("make image %s: %w", reference, err)
	}
	if err := os.WriteFile(file, tarball, 0o644); err != nil {
		return fmt.Errorf("write image %s: %w", reference, err)
	}
	return nil
}

func layout(reference string, program []byte) ([]byte, error) {
	const entrypoint = "/pause"
	files, err := archive(entry{path.Base(entrypoint), 0o755, program})
	if err != nil {
		return nil, err
	}
	layer := newBlob(layerType, files)
	config, err := encode(configType, map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{entrypoint}, "User": "65535:65535"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := encode(manifestType, map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        config.descriptor,
		"layers":        []descriptor{layer.descriptor},
	})
	if err != nil {
		return nil, err
	}
	manifest.Annotations = map[string]string{nameAnnotation: reference}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     indexType,
		"manifests":     []descriptor{manifest.descriptor},
	})
	if err != nil {
		return nil, err
	}
	entries := []entry{{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", 0o644, index}}
	for _, part := range []blob{layer, config, manifest} {
		entries = append(entries, entry{"blobs/sha256/" + part.Digest[len("sha256:"):], 0o644, part.content})
	}
	return archive(entries...)
}

func encode(mediaType string, value any) (blob, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return blob{}, err
	}
	return newBlob(mediaType, content), nil
}

func newBlob(mediaType string, content []byte) blob {
	sum := sha256.Sum256(content)
	return blob{descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(content)}, content}
}

type entry struct {
	name    string
	mode    int64
	content []byte
}

// archive leaves out times and owners, so it depends on nothing but the entries.
func archive(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, e := range entries {
		header := tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content))}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
