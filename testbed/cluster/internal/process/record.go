package process

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Spec says what a process is started with. Two specs of equal Digest make the same process.
type Spec struct {
	// Name is unique in the testbed and names the log file and the record.
	Name string
	// Path is the executable; its base name is what a multi-call binary goes by.
	Path string
	Args []string
	// Env is the environment, apart from PATH.
	Env []string
	// Inputs are files whose content the process reads once, at its start.
	Inputs []string
}

// Digest covers the arguments, the real path of the executable and the content of the inputs.
func (s Spec) Digest() (string, error) {
	executable, err := filepath.EvalSymlinks(s.Path)
	if err != nil {
		return "", fmt.Errorf("resolve executable of %s: %w", s.Name, err)
	}
	hash := sha256.New()
	lines := append([]string{executable}, s.Args...)
	if err := json.NewEncoder(hash).Encode([][]string{lines, s.Env, s.Inputs}); err != nil {
		return "", fmt.Errorf("digest %s: %w", s.Name, err)
	}
	for _, input := range s.Inputs {
		content, err := os.ReadFile(input)
		if err != nil {
			return "", fmt.Errorf("digest %s: %w", s.Name, err)
		}
		sum := sha256.Sum256(content)
		hash.Write(sum[:])
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Record is what is kept on disk about a process that was started.
type Record struct {
	Name     string   `json:"name"`
	Identity Identity `json:"identity"`
	Digest   string   `json:"digest"`
}

// Records is the folder of records: one file per process, so that writing one never endangers another.
type Records struct{ Dir string }

const recordSuffix = ".json"

// Get returns the record of that name; found is false where there is none.
func (r Records) Get(name string) (record Record, found bool, err error) {
	content, err := os.ReadFile(r.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read process record: %w", err)
	}
	// A record cut short by a crash is as good as none: what it named is found by its namespaces instead.
	if err := json.Unmarshal(content, &record); err != nil || record.Name != name {
		return Record{}, false, nil
	}
	return record, true, nil
}

// Put replaces the record of that name, whole or not at all.
func (r Records) Put(record Record) error {
	content, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record of %s: %w", record.Name, err)
	}
	partial := r.path(record.Name) + ".partial"
	if err := os.WriteFile(partial, content, 0o600); err != nil {
		return fmt.Errorf("write process record: %w", err)
	}
	if err := os.Rename(partial, r.path(record.Name)); err != nil {
		return fmt.Errorf("write process record: %w", err)
	}
	return nil
}

// Remove forgets the process of that name.
func (r Records) Remove(name string) error {
	if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove process record: %w", err)
	}
	return nil
}

// All returns every readable record, by name.
func (r Records) All() ([]Record, error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list process records: %w", err)
	}
	var records []Record
	for _, entry := range entries {
		name, isRecord := strings.CutSuffix(entry.Name(), recordSuffix)
		if !isRecord {
			continue
		}
		record, found, err := r.Get(name)
		if err != nil {
			return nil, err
		}
		if found {
			records = append(records, record)
		}
	}
	return records, nil
}

func (r Records) path(name string) string { return filepath.Join(r.Dir, name+recordSuffix) }
