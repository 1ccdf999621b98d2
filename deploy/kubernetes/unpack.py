"""Takes kubectl and helm out of the package that carries them: a wheel with a tarball with a zip."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

cache = Path(sys.argv[1])
wheel = zipfile.ZipFile(next(cache.glob("aws_cdk*.whl")))
inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = next(member for member in package.getmembers() if member.name.endswith("layer.zip"))
zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read())).extractall(cache / "layer")
for tool in ["kubectl/kubectl", "helm/helm"]:
    (cache / "layer" / tool).chmod(0o755)
