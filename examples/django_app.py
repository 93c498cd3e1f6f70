"""A Django project in a single file. Run it: aserve examples/django_app.py"""

import json

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.html import escape
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

settings.configure(
    DEBUG=True,
    # Good for development only; a real project reads its key from the environment.
    SECRET_KEY="not-a-secret",
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

PAGE = """<!doctype html><title>Django</title><h1>Hello from Django</h1>
<form method="post" action="/form"><input name="name" value="Ada"><button>Post</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="file"><button>Upload</button></form>
<p><a href="/stream">stream</a></p>"""


def hello(request):
    return HttpResponse(PAGE)


@csrf_exempt
@require_POST
def form(request):
    return HttpResponse(f"Hello, {escape(request.POST['name'])}")


@csrf_exempt
@require_POST
def add(request):
    return JsonResponse({"sum": sum(json.loads(request.body))})


def stream(request):
    # A generator is sent item by item.
    lines = (f"line {number}\n" for number in range(5))
    return StreamingHttpResponse(lines, content_type="text/plain")


@csrf_exempt
@require_POST
def upload(request):
    file = request.FILES["file"]
    return JsonResponse({"name": file.name, "size": sum(len(part) for part in file.chunks())})


urlpatterns = [
    path("", hello),
    path("form", form),
    path("json", add),
    path("stream", stream),
    path("upload", upload),
]

app = WSGIHandler()
