# Unpacks packages ($2, $3 ...) of a release of Debian ($1) into the working directory, from the archive that this machine's own
# apt uses, by an apt that keeps everything to this directory. Nothing is installed.
set -e
mkdir -p apt/lists/partial apt/archives/partial
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
echo "deb $archive $1 main" > apt/sources.list
shift
apt() {
    apt-get --quiet -o Dir::State="$PWD/apt" -o Dir::Cache="$PWD/apt" -o Dir::State::status=/dev/null -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::SourceList="$PWD/apt/sources.list" -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
apt download "$@"
for package in *.deb; do dpkg-deb --extract "$package" new; done
rm -r apt ./*.deb
mv new/* .
