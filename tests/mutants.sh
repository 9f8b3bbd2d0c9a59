#!/usr/bin/env bash
# cargo-mutants over what keeps credentials in: `bash tests/mutants.sh [target|policy|guard|shared|inject|scrub]…` (default: all of them).
# Each of these is copied with its unit tests into a crate of its own, outside the repository, where one mutant takes seconds
# instead of minutes. Needs cargo-mutants (`cargo install --locked cargo-mutants@27.1.0`). What it found: docs/mutants.md.
# MUTANTS_DIR: where the crates are made (default: a directory in $TMPDIR); a run that was stopped goes on there. MUTANTS_ARGS: more arguments for cargo-mutants.
# MUTANTS_TIMEOUT: seconds that the tests of one mutant may take (default 20).
set -euo pipefail
# Some mutants never stop allocating.
ulimit -v $((6 * 1024 * 1024))

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${MUTANTS_DIR:-${TMPDIR:-/tmp}/doorward-mutants}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$out/build} CARGO_INCREMENTAL=1 PROPTEST_CASES=${PROPTEST_CASES:-32}

# files NAME FROM PATH…: copies modules of one of our crates to where `mod` looks for them.
files() {
    local name=$1 from=$2 path
    shift 2
    for path; do
        mkdir -p "$out/$name/src/$(dirname "$path")"
        cp -R "$repository/$from/src/$path" "$out/$name/src/$path"
    done
}

# manifest NAME CRATE DEPENDENCY…: a package with the named dependencies, in the versions of our root manifest.
manifest() {
    local name=$1 dependency
    shift
    {
        printf '[package]\nname = "mutants-%s"\nversion = "0.0.0"\nedition = "2024"\n\n[lib]\ndoctest = false\n\n[dependencies]\n' "$name"
        for dependency; do printf '%s.workspace = true\n' "$dependency"; done
        printf '\n[dev-dependencies]\ntokio = { workspace = true, features = ["test-util"] }\n'
    } >"$out/$name/Cargo.toml"
}

# fresh NAME: the directory of a crate, emptied, but for the results of an earlier run.
fresh() {
    rm -rf "${out:?}/$1/src"
    mkdir -p "$out/$1/src"
}

target() {
    files target control target.rs
    echo 'pub mod target;' >"$out/target/src/lib.rs"
    manifest target proptest thiserror
}

policy() {
    files policy control target.rs agent rule provider types aws.rs aws catalog.rs policy refusal.rs secret.rs
    # The tests of what types say of themselves need the vault.
    rm "$out/policy/src/types/tests/descriptions.rs"
    sed -i '/^mod descriptions;$/d' "$out/policy/src/types/tests.rs"
    printf 'pub mod %s;\n' target agent rule provider types aws catalog policy refusal secret >"$out/policy/src/lib.rs"
    manifest policy base64 http ipnet memchr percent-encoding proptest psl region serde serde-saphyr serde_json sha2 strsim \
        subtle tempfile thiserror time tracing zeroize
}

guard() {
    files guard proxy upstream/address.rs upstream/guard.rs upstream/resolve.rs limits
    echo 'pub mod limits; pub mod upstream { pub mod address; pub mod guard; pub mod resolve; }' >"$out/guard/src/lib.rs"
    manifest guard bytes control hickory-resolver ipnet parking_lot strsim thiserror tokio tracing
}

# What schemes share, with the few types of `schemes` and `control` that it needs: a tenth of what `inject` compiles, and no tests but its own.
shared() {
    local from=$repository/proxy/src/schemes name
    files shared control catalog.rs secret.rs
    files shared proxy schemes/shared/{surface,template,encode,substitute,basic_auth,parameters,cookies,pathshape,pointer,names}.rs
    {
        printf 'use control::secret::Secret;\nuse control::vault::Opened;\nuse std::fmt;\nuse zeroize::Zeroizing;\n'
        echo 'pub mod shared { pub mod surface; pub mod template; pub mod encode; pub mod substitute; pub mod basic_auth;'
        echo 'pub mod parameters; pub mod cookies; pub mod pathshape; pub mod pointer; pub mod names; }'
        grep '^pub.* const \(SHORTEST_VALUE\|CREDENTIAL\)' "$from/mod.rs"
        sed -n '/^pub struct Echo/,/^}/p; /^impl fmt::Debug for Echo/,/^}/p; /^impl.* Values/,/^}/p
            /^pub struct Values/i #[derive(Clone, Copy)]
            /^pub struct Values/,/^}/p
            /^pub enum \(BuildError\|ArmFault\)/i #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
            /^pub enum \(BuildError\|ArmFault\)/,/^}/p' "$from/mod.rs"
        echo '#[cfg(test)] pub(crate) mod conformance { use super::*;'
        echo 'pub(crate) fn opened(values: &[(&str, &str)]) -> Opened {'
        echo 'Opened { values: values.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(value.as_bytes().to_vec()))).collect() } } }'
    } >"$out/shared/src/schemes/mod.rs"
    printf 'extern crate self as control;\npub mod catalog; pub mod secret; pub mod schemes;\npub mod vault { pub struct Opened { pub values: Vec<(String, crate::secret::Secret)> } }\n' >"$out/shared/src/lib.rs"
    manifest shared base64 bytes http memchr percent-encoding proptest region serde serde_json subtle thiserror zeroize
}

inject() {
    files inject proxy request/inject schemes limits
    # The join with the journey needs the whole proxy; the tests of tests/it are its own.
    for name in credential renew subject; do
        rm "$out/inject/src/request/inject/$name.rs"
        sed -i "s/^\(pub(crate) \)\?\(mod $name;\|use $name::.*\)\$//" "$out/inject/src/request/inject/mod.rs"
    done
    echo 'pub mod limits; pub mod schemes; pub mod request { pub mod inject; }' >"$out/inject/src/lib.rs"
    # Where the tests of the signer look for AWS' own.
    mkdir -p "$out/tests"
    cp -R "$repository/tests/fixtures" "$out/tests/"
    manifest inject aws-lc-rs base64 bytes control http http-body memchr parking_lot percent-encoding proptest serde serde_json \
        thiserror time zeroize
}

scrub() {
    files scrub proxy request/scrub
    files scrub control vault/version.rs
    echo 'extern crate self as control; pub mod vault { mod version; pub use version::Version; } pub mod request { pub mod scrub; }' >"$out/scrub/src/lib.rs"
    manifest scrub base64 brotli brotli-decompressor bytes flate2 futures-util http http-body http-body-util memchr parking_lot \
        percent-encoding pin-project-lite proptest thiserror tokio zeroize zstd
}

# Which files of the copy are mutated.
scope() {
    case $1 in
        target) echo src/target.rs ;;
        policy) echo src/policy/{mod,judge,rules}.rs ;;
        guard) echo src/upstream/{address,guard}.rs ;;
        shared) echo src/schemes/shared/*.rs ;;
        inject) echo src/request/inject/*.rs src/schemes/{placeholder,outgoing}.rs src/schemes/shared/*.rs ;;
        scrub) echo 'src/request/scrub/**/*.rs' ;;
    esac
}

# The scrubber's slow tests (every split of every form): a mutant meets them only if all the others let it pass.
slow() {
    case $1 in
        scrub) printf -- '--skip %s ' split::masks attack::the_end_of coded::tests::{cuts_at,passes,one_chunk,searches,turns_of,refuses_bombs} ;;
    esac
}

# The root manifest with the scratch crates as its members.
workspace() {
    local members=() name
    for name in target policy guard shared inject scrub; do [ -e "$out/$name/Cargo.toml" ] && members+=("\"$name\""); done
    {
        sed -e "s|^members = .*|members = [$(IFS=,; echo "${members[*]}")]|" -e '/^default-members\|^exclude/d' \
            -e "s|path = \"\([a-z]*\)\"|path = \"$repository/\1\"|" "$repository/Cargo.toml"
        for name in "${members[@]//\"/}"; do printf '\n[profile.dev.package.mutants-%s]\ndebug = false\n' "$name"; done
    } >"$out/Cargo.toml"
    [ -e "$out/Cargo.lock" ] || cp "$repository/Cargo.lock" "$out/Cargo.lock"
    mkdir -p "$out/results"
}

# mutate NAME ARGUMENT…: one run over the files of a crate's scope, but for the mutants that an earlier run caught. That mutants
# are missed is its result, not an error.
mutate() {
    local name=$1 files=() file iterate=()
    shift
    [ -d "$out/results/$name" ] && iterate=(--iterate)
    for file in $(cd "$out/$name" && set -f && scope "$name"); do files+=(--file "$name/$file"); done
    (cd "$out" && cargo mutants --in-place --no-shuffle --timeout "${MUTANTS_TIMEOUT:-20}" --package "mutants-$name" --output "$out/results/$name" \
        "${files[@]}" "${iterate[@]}" ${MUTANTS_ARGS:-} "$@") || [ $? -le 3 ]
}

main() {
    local names=("$@") name skip
    [ $# -gt 0 ] || names=(target policy guard shared inject scrub)
    for name in "${names[@]}"; do fresh "$name" && "$name"; done
    workspace
    for name in "${names[@]}"; do
        skip=$(slow "$name")
        if [ -z "$skip" ]; then
            mutate "$name"
        else
            # shellcheck disable=SC2086
            mutate "$name" -- -- $skip
            mutate "$name"
        fi
    done
}

main "$@"
