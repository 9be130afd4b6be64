"""`dask-operator-plugin new`, and its template, which must not drift from the examples."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dask_operator_plugin import cli
from dask_operator_plugin.handlers import KINDS
from dask_operator_plugin.new import COMPONENTS, NewPlugin, create

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RULES = [(kind, component) for kind in KINDS for component in COMPONENTS.get(kind, (None,))]


def body_of(text):
    """Returns a manifest without the comment at its beginning."""
    return re.sub(r"\A(#.*\n)+", "", text)


@pytest.mark.parametrize(("kind", "component"), RULES)
def test_the_tests_of_a_new_plugin_pass_as_they_are(kind, component, tmp_path, capsys):
    folder = tmp_path / "mine"
    arguments = ["new", "mine", "--kind", kind, "--directory", str(folder)]
    assert cli.main(arguments + (["--component", component] if component else [])) == 0
    printed = capsys.readouterr().out.splitlines()
    assert set(printed[:-2]) == {str(path) for path in folder.rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout
    assert f"  - {{kind: {kind}" in (folder / "manifests" / "plugin.yaml").read_text()


@pytest.mark.parametrize("name", ["Mine", "my_plugin", "-mine", "mine-", "a.b", "1st", "ü", "", "a" * 57])
def test_the_error_for_a_name_that_is_no_dns_label_names_the_rule(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", f"--directory={tmp_path / 'x'}", "--", name]) == 1
    expected = f'dask-operator-plugin: the name "{name}" is not a DNS label; use up to 56 of a-z, 0-9 and inner dashes'
    assert capsys.readouterr().err.startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kind", "DaskJob", "--component", "worker"], "a DaskJob has no component worker; leave it out"),
        (["--component", "worker"], "a Service has no component worker; use scheduler"),
        (
            ["--kind", "Deployment", "--component", "job-runner"],
            "a Deployment has no component job-runner; use scheduler or worker",
        ),
    ],
)
def test_a_component_that_the_kind_does_not_have_is_refused(arguments, sentence, tmp_path, capsys):
    assert cli.main(["new", "mine", "--directory", str(tmp_path / "x"), *arguments]) == 1
    assert capsys.readouterr().err == f"dask-operator-plugin: {sentence}\n"


def test_an_existing_folder_is_kept_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "plugin.py").write_text("precious")
    assert cli.main(["new", "mine"]) == 1
    message = "mine exists; remove it, or choose another folder with --directory"
    assert capsys.readouterr().err == f"dask-operator-plugin: {message}\n"
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["deployment.yaml", "rbac.yaml"])
def test_the_manifests_are_those_of_the_python_example(name, tmp_path):
    create(NewPlugin("links", image="localhost/dask-plugin-python:test"), tmp_path / "links")
    manifest = (tmp_path / "links" / "manifests" / name).read_text()
    assert body_of(manifest) == body_of((EXAMPLES / "python" / "manifests" / name).read_text())


def test_the_registration_is_like_that_of_the_python_example(tmp_path):
    create(NewPlugin("links"), tmp_path / "links")
    mine, example = (
        body_of(path.read_text()).partition("  settings:\n")[0]
        for path in (
            tmp_path / "links" / "manifests" / "plugin.yaml",
            EXAMPLES / "python" / "manifests" / "plugin.yaml",
        )
    )
    assert mine == example


@pytest.mark.parametrize("example", ["ingress", "istio", "networkpolicy"])
def test_the_deployments_of_the_rust_examples_are_alike(example, tmp_path):
    create(NewPlugin(example, image=f"localhost/{example}-plugin:test"), tmp_path / "it")
    python = body_of((tmp_path / "it" / "manifests" / "deployment.yaml").read_text())
    # The code of a plugin in Rust is in its image.
    python = re.sub(r" +- name: code\n +mountPath: /plugin\n +readOnly: true\n", "", python)
    python = re.sub(rf" +- name: code\n +configMap:\n +name: {example}-plugin\n", "", python)
    rust = body_of((EXAMPLES / example / "manifests" / "deployment.yaml").read_text())
    memory = re.compile(r"memory: \d+Mi")
    assert memory.sub("memory", python) == memory.sub("memory", rust)


@pytest.mark.parametrize(
    "name", ["deployment.yaml", "rbac.yaml", "plugin.yaml", "dev.yaml", "kustomization.yaml", "sample.yaml"]
)
def test_the_template_for_rust_has_the_same_manifests(name, tmp_path):
    create(NewPlugin("ingress", image="localhost/ingress-plugin:test"), tmp_path / "it")
    [mine] = (tmp_path / "it").rglob(name)
    [theirs] = (EXAMPLES / "template-rust").rglob(name)
    text = body_of(theirs.read_text())
    for placeholder, value in {
        "project-name": "ingress",
        "image": "localhost/ingress-plugin:test",
    }.items():
        text = text.replace("{{" + placeholder + "}}", value)
    text = text.replace("{ {{subject}} }", "{kind: Service, component: scheduler}")
    if name == "deployment.yaml":
        assert text == body_of((EXAMPLES / "ingress" / "manifests" / name).read_text())
    elif name == "kustomization.yaml":
        assert text == body_of(mine.read_text()).partition("configMapGenerator:")[0]
    else:
        assert text.startswith(body_of(mine.read_text()))


def test_the_sample_is_the_cluster_of_the_demo(tmp_path):
    create(NewPlugin("mine"), tmp_path / "mine")
    sample = body_of((tmp_path / "mine" / "sample.yaml").read_text())
    demo = body_of((ROOT / "demo" / "cluster.yaml").read_text())
    assert sample.replace("ghcr.io/dask/dask:latest", "localhost/dask:test") == demo


def test_the_namespace_and_the_image_are_those_that_were_chosen(tmp_path):
    create(NewPlugin("mine", namespace="dask", image="registry.example.org/mine:2"), tmp_path / "mine")
    files = {path.name: path.read_text() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert "image: registry.example.org/mine:2\n" in files["deployment.yaml"]
    assert "namespace: dask\n" in files["plugin.yaml"]
    assert "namespace: dask\n" in files["kustomization.yaml"]
    assert not any("dask-operator:" in text or "$" in text for name, text in files.items() if name == "plugin.yaml")
