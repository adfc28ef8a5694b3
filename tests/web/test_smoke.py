from pathlib import Path
def test_it_opens(page, server, tmp_path):
    page.picture(Path("/tmp/web-shots/tasks.png"))
    page.go("/docs")
    page.picture(Path("/tmp/web-shots/docs.png"))
