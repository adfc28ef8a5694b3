"""The files that the host has for the workspace."""

from pathlib import Path

from .door import Door
from .lab import Lab


async def test_a_missing_input_is_refused_by_name_and_the_next_prompt_works(lab: Lab, door: Door):
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=[{"path": "task_files/a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    refused = await door.heard("refused")
    assert refused["id"] == "turn-1" and "task_files/a.csv" in refused["message"] and "404" in refused["message"]
    door.inputs["a.csv"] = b"1,2"
    door.prompt("Hi", id="turn-2", inputs=[{"path": "task_files/a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    await door.heard("settled")
    assert (lab.workspace / "task_files/a.csv").read_bytes() == b"1,2"
    assert sorted(path.name for path in (lab.workspace / "task_files").iterdir()) == ["a.csv"]


async def test_an_input_of_the_wrong_size_is_not_put_in_place(lab: Lab, door: Door):
    door.inputs["a.csv"] = b"1,2,3"
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=[{"path": "a.csv", "url": "/guest/inputs/a.csv", "sizeBytes": 3}])
    assert "5 bytes instead of 3" in (await door.heard("refused"))["message"]
    assert list(lab.workspace.iterdir()) == []


async def test_inputs_come_once_and_never_over_what_the_agent_made_of_them(lab: Lab, door: Door):
    names = [f"{i} ü?#.bin" for i in range(9)]
    for i, _ in enumerate(names):
        door.inputs[str(i)] = bytes([i]) * 300_000
    door.inputs["t"] = b"Do it."
    inputs = [
        {"path": f"task_files/{name}", "url": f"/guest/inputs/{i}", "sizeBytes": 300_000}
        for i, name in enumerate(names)
    ]
    inputs.append({"path": "task/TASK.md", "url": "/guest/inputs/t", "sizeBytes": 6})
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=inputs)
    await door.heard("settled")
    first = lab.workspace / "task_files" / names[0]
    assert first.read_bytes() == bytes(300_000)
    assert (lab.workspace / "TASK.md").readlink() == Path("task/TASK.md")
    first.write_bytes(b"mine")
    (lab.workspace / "task_files" / names[1]).unlink()
    await lab.kill()
    await door.next_life()
    await lab.start()
    await door.heard("settled")
    assert first.read_bytes() == b"mine"
    assert not (lab.workspace / "task_files" / names[1]).exists()


async def test_no_name_of_an_input_has_a_meaning_for_us(lab: Lab, door: Door):
    names = ["b.csv", ".b.csv.part", ".b.csv.part.part", "inputs.json", ".arriving", "TASK.md", "a.part"]
    folders = ["task_files", "reference_files"]
    paths = [f"{folder}/{name}" for folder in folders for name in names]
    for i, path in enumerate(paths):
        door.inputs[str(i)] = path.encode()
    inputs = [{"path": path, "url": f"/guest/inputs/{i}", "sizeBytes": len(path)} for i, path in enumerate(paths)]
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=inputs)
    await door.heard("settled")
    assert {path: (lab.workspace / path).read_text() for path in paths} == {path: path for path in paths}
    assert {path.name for path in lab.workspace.iterdir()} == set(folders)


async def test_the_first_input_that_fails_ends_the_others(lab: Lab, door: Door):
    for i in range(40):
        door.inputs[str(i)] = b"x" * 100
    inputs = [{"path": f"task_files/{i}", "url": f"/guest/inputs/{i}", "sizeBytes": 100} for i in range(40)]
    inputs.insert(1, {"path": "task_files/gone", "url": "/guest/inputs/gone", "sizeBytes": 1})
    lab.launch()
    await lab.start()
    door.prompt("Hi", inputs=inputs)
    assert "task_files/gone" in (await door.heard("refused"))["message"]
    assert {path.name for path in lab.workspace.iterdir()} <= {"task_files"}
    assert len(list((lab.workspace / "task_files").iterdir())) < 40
