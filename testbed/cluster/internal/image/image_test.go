package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func unpack(t *testing.T, tarball []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(tarball)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSameProgramMakesTheSameImage(t *testing.T) {
	first, err := layout("example/pause:1", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := layout("example/pause:1", []byte("program"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two images differ (%v)", err)
	}
}

func TestEveryBlobIsNamedByItsDigestAndTheIndexNamesTheImage(t *testing.T) {
	tarball, err := layout("example/pause:1", []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, tarball)
	for name, content := range files {
		digest, isBlob := strings.CutPrefix(name, "blobs/sha256/")
		if sum := sha256.Sum256(content); isBlob && digest != hex.EncodeToString(sum[:]) {
			t.Errorf("%s holds something else", name)
		}
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	manifest := index.Manifests[0]
	if manifest.Annotations[nameAnnotation] != "example/pause:1" {
		t.Errorf("annotations are %v", manifest.Annotations)
	}
	if content := files["blobs/sha256/"+strings.TrimPrefix(manifest.Digest, "sha256:")]; len(content) != manifest.Size {
		t.Errorf("manifest is %d bytes long, the index says %d", len(content), manifest.Size)
	}
}
