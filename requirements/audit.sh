#!/usr/bin/env bash
# Checks the pinned packages for known vulnerabilities on PyPI, with pip-audit in a small separate environment.
# Exit status: 0 if all packages were checked and none has a known vulnerability, 1 if one has, 3 if not all were checked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache="$PWD/../.cache"
tool="$cache/audit"
mkdir -p "$cache"

if ! cmp -s audit.txt "$tool/audit.txt"; then
    rm -rf "$tool"
    if ! { python3 -m venv "$tool" && "$tool/bin/pip" install --quiet --require-hashes --only-binary :all: -r audit.txt; } \
        >"$cache/audit.log" 2>&1; then
        echo "audit: not done, since pip-audit could not be installed (why: .cache/audit.log)" >&2
        exit 3
    fi
    cp audit.txt "$tool/audit.txt"
fi

# --disable-pip: the lists are complete and hashed, so nothing needs to be resolved or downloaded
rm -f "$cache/audit.json"
"$tool/bin/pip-audit" --disable-pip --require-hashes --progress-spinner off --cache-dir "$tool/cache" \
    --format json --output "$cache/audit.json" \
    -r runtime.txt -r kilted.txt -r jazzy.txt -r dev.txt -r torch.txt -r cuda.txt -r pip.txt -r compiler.txt >"$cache/audit.log" 2>&1 || true

"$tool/bin/python" - "$cache/audit.json" <<'PYTHON'
import json
import sys

try:
    packages = json.load(open(sys.argv[1]))["dependencies"]
except (OSError, ValueError, KeyError):
    print("audit: not done, since the vulnerability service did not answer (why: .cache/audit.log)")
    sys.exit(3)
skipped = [package["name"] for package in packages if "skip_reason" in package]
found = [(package, vulnerability) for package in packages for vulnerability in package.get("vulns", [])]
for package, vulnerability in found:
    fixed = ", ".join(vulnerability["fix_versions"]) or "none"
    print(f"audit: {package['name']} {package['version']}: {vulnerability['id']}, fixed in: {fixed}")
if len(skipped) == len(packages):
    print(f"audit: not done, since the vulnerability service knows none of the {len(packages)} packages, so it is not PyPI's own")
else:
    print(f"audit: {len(packages) - len(skipped)} packages asked about, {len(found)} known vulnerabilities")
    if skipped:
        print(f"audit: not asked about, since the service does not know them: {', '.join(skipped)}")
sys.exit(1 if found else 3 if skipped else 0)
PYTHON
