"""A Flask app. Run it: aserve examples/flask_app.py"""

from flask import Flask, jsonify, request
from markupsafe import escape

app = Flask(__name__)

PAGE = """<!doctype html><title>Flask</title><h1>Hello from Flask</h1>
<form method="post" action="/form"><input name="name" value="Ada"><button>Post</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="file"><button>Upload</button></form>
<p><a href="/stream">stream</a></p>"""


@app.get("/")
def hello():
    return PAGE


@app.post("/form")
def form():
    return f"Hello, {escape(request.form['name'])}"


@app.post("/json")
def add():
    return jsonify(sum=sum(request.get_json()))


@app.get("/stream")
def stream():
    # A generator is sent item by item.
    lines = (f"line {number}\n" for number in range(5))
    return app.response_class(lines, mimetype="text/plain")


@app.post("/upload")
def upload():
    file = request.files["file"]
    return jsonify(name=file.filename, size=len(file.read()))
