"""A Bottle app. Run it: aserve examples/bottle_app.py"""

from bottle import Bottle, html_escape, request, response

app = Bottle()

PAGE = """<!doctype html><title>Bottle</title><h1>Hello from Bottle</h1>
<form method="post" action="/form"><input name="name" value="Ada"><button>Post</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="file"><button>Upload</button></form>
<p><a href="/stream">stream</a></p>"""


@app.get("/")
def hello():
    return PAGE


@app.post("/form")
def form():
    return f"Hello, {html_escape(request.forms.getunicode('name'))}"


@app.post("/json")
def add():
    return {"sum": sum(request.json)}


@app.get("/stream")
def stream():
    # A generator is sent item by item.
    response.content_type = "text/plain"
    for number in range(5):
        yield f"line {number}\n"


@app.post("/upload")
def upload():
    file = request.files["file"]
    return {"name": file.raw_filename, "size": len(file.file.read())}
