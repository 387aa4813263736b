"""Registering, scaling, listing, describing, default versions, removing (5.1-5.7, 3.2)."""

from __future__ import annotations

from ..steps import Call, Files, Row, Setup, Touch, Until
from .brief import ask, core, manage, say, standard

_JSON = "application/json"


def _life(name: str, section: str, *calls: Call) -> Row:
    return core(name, section, *calls)


def _register(query: str) -> Call:
    return manage("POST", f"/models?{query}")


REGISTER: tuple[Row, ...] = (
    core("register without a url", "5.1", manage("POST", "/models")),
    core("register an empty url", "5.1", _register("url=")),
    core("register what is not there", "3.2", _register("url=nowhere.mar")),
    core("register a parent folder", "3.2", _register("url=../store/echo.mar")),
    core("register a file outside the store", "3.2", _register("url=/etc/hostname")),
    core("register by ftp", "3.2", _register("url=ftp://127.0.0.1/gone.mar")),
    standard("register by s3", "3.2", _register("url=s3://bucket/gone.mar")),
    core("register from a closed port", "3.2", _register("url=http://127.0.0.1:9/fetched.mar")),
    core("register what the store has, by URL", "3.2", _register("url=http://127.0.0.1:9/echo.mar")),
    core("register an unknown runtime", "5.1", _register("url=echo.mar&runtime=python4")),
    core("register without a manifest and a name", "3.2", _register("url=nameless.mar")),
    core("register junk", "3.2", _register("url=junk.mar")),
    core("register without workers", "5.1", _register("url=echo.mar")),
    core("describe a model without workers", "5.4", manage("GET", "/models/echo")),
    core("register again", "5.1", _register("url=echo.mar")),
    core("register under another name", "5.1", _register("url=echo.mar&model_name=renamed")),
    core("remove it", "5.6", manage("DELETE", "/models/renamed")),
    core("a second version", "5.1", _register("url=echo2.mar"), manage("GET", "/models/echo/all")),
    core("set-default", "5.5", manage("PUT", "/models/echo/2.0/set-default"), manage("GET", "/models")),
    core("set-default of an unknown version", "5.5", manage("PUT", "/models/echo/9.0/set-default")),
    core("set-default of an unknown model", "5.5", manage("PUT", "/models/nobody/1.0/set-default")),
    core("remove the default version", "5.6", manage("DELETE", "/models/echo/2.0")),
    core("remove the default version, unnamed", "5.6", manage("DELETE", "/models/echo")),
    core("remove the other version, then the last", "5.6",
         manage("DELETE", "/models/echo/1.0"), manage("DELETE", "/models/echo"), manage("GET", "/models")),
    core("remove an unknown model", "5.6", manage("DELETE", "/models/nobody")),
    core("remove an unknown version", "5.6", _register("url=echo.mar"), manage("DELETE", "/models/echo/7.0")),
    core("register with JSON", "5.1",
         manage("POST", "/models", '{"url": "other.mar", "batch_size": 2, "max_batch_delay": "50"}', _JSON),
         manage("GET", "/models/other")),
    core("remove with a slash and parameters", "5.6", manage("DELETE", "/models/other/?synchronous=true&timeout=-1")),
    core("register with JSON, delay left out", "5.1",
         manage("POST", "/models", '{"url": "other.mar"}', _JSON), manage("GET", "/models/other"),
         manage("DELETE", "/models/other")),
    core("register with JSON that is none", "5.1", manage("POST", "/models", "not json", _JSON)),
    core("register with JSON without url", "5.1", manage("POST", "/models", "{}", _JSON)),
    core("register with numbers that are none", "5.1",
         _register("url=other.mar&batch_size=dd&max_batch_delay=junk&response_timeout=x"),
         manage("GET", "/models/other"), manage("DELETE", "/models/other")),
    core("register with every number", "5.1",
         _register("url=other.mar&batch_size=3&max_batch_delay=40&response_timeout=7&startup_timeout=9"),
         manage("GET", "/models/other"), manage("DELETE", "/models/other")),
    core("register with negative workers", "5.1",
         _register("url=other.mar&initial_workers=-1"), manage("DELETE", "/models/other")),
    core("yaml against REST", "2.6",
         _register("url=four.mar&batch_size=2&response_timeout=7"), manage("GET", "/models/four"),
         manage("DELETE", "/models/four")),
    core("register a tarball", "3.2", _register("url=packed.tar.gz"), manage("GET", "/models/packed"),
         manage("DELETE", "/models/packed")),
    core("register a folder", "3.2", _register("url=folder"), manage("GET", "/models/folder"),
         manage("DELETE", "/models/folder"), Files("store/folder/*")),
    core("register a nameless archive with name and handler", "3.2",
         _register("url=nameless.mar&model_name=given&handler=handler.py&initial_workers=1"),
         ask("/predictions/given", "hello", "text/plain"), manage("DELETE", "/models/given")),
)  # fmt: skip

WORKERS: tuple[Row, ...] = (
    core("register with a worker", "5.1", _register("url=probe.mar&model_name=p&initial_workers=1")),
    core("describe a model with a worker", "5.4", manage("GET", "/models/p")),
    core("describe a version", "5.4", manage("GET", "/models/p/1.0")),
    core("describe all versions", "5.4", manage("GET", "/models/p/all")),
    core("describe with a slash", "5.4", manage("GET", "/models/p/")),
    core("describe an unknown model", "5.4", manage("GET", "/models/nobody")),
    core("describe an unknown version", "5.4", manage("GET", "/models/p/7.0")),
    core("scale, not waiting", "5.2", manage("PUT", "/models/p?min_worker=1")),
    core("scale, waiting", "5.2", manage("PUT", "/models/p?min_worker=2&synchronous=true")),
    core("scale a version, waiting", "5.2", manage("PUT", "/models/p/1.0?min_worker=1&synchronous=true")),
    core("scale an unknown version", "5.2", manage("PUT", "/models/p/0.0?min_worker=1")),
    core("scale an unknown model", "5.2", manage("PUT", "/models/nobody?min_worker=1")),
    core("scale with max below min", "5.2", manage("PUT", "/models/p?min_worker=2&max_worker=1")),
    core("scale with a negative max", "5.2", manage("PUT", "/models/p?max_worker=-1")),
    core("scale with a negative min", "5.2", manage("PUT", "/models/p?min_worker=-1"),
         manage("PUT", "/models/p?min_worker=1&synchronous=true")),
    core("scale with what is no number", "5.2", manage("PUT", "/models/p?min_worker=nan&synchronous=Nan")),
    core("scale with parameters that mean nothing", "5.2", manage("PUT", "/models/p?number_gpu=-1&timeout=-1")),
    core("scale to none", "5.2", manage("PUT", "/models/p?min_worker=0&synchronous=true"),
         manage("GET", "/models/p"), say("text x", "p")),
    core("post to a model", "5.7", manage("POST", "/models/p")),
    core("remove a model", "5.6", manage("DELETE", "/models/p"), manage("GET", "/models/p")),
    core("register, waiting", "5.1",
         _register("url=other.mar&initial_workers=1&synchronous=true"), manage("GET", "/models/other")),
    core("register, not waiting", "5.1",
         _register("url=echo2.mar&model_name=later&initial_workers=1&synchronous=false"),
         Until(manage("GET", "/models/later"), "READY")),
    core("register what can't load, waiting", "5.1",
         _register("url=broken.mar&initial_workers=1&synchronous=true&startup_timeout=4"),
         manage("GET", "/models/broken")),
    core("scale what can't load", "5.2",
         _register("url=broken.mar"), manage("PUT", "/models/broken?min_worker=1&synchronous=true"),
         manage("PUT", "/models/broken?min_worker=0"), manage("DELETE", "/models/broken")),
    core("register two classes", "8.1", _register("url=classes.mar&initial_workers=1")),
    core("register a handler that is not there", "8.1", _register("url=handless.mar&initial_workers=1")),
    core("a yaml with everything", "3.4", _register("url=configured.mar"),
         Until(manage("GET", "/models/configured"), "READY"), manage("GET", "/models/configured"),
         manage("DELETE", "/models/configured")),
    standard("customized description", "5.4", _register("url=describes.mar&initial_workers=1"),
             manage("GET", "/models/describes?customized=true"), manage("GET", "/models/describes/all?customized=true"),
             manage("PUT", "/models/describes?min_worker=0&synchronous=true"),
             manage("GET", "/models/describes?customized=true")),
    core("health while a model loads", "4.8", _register("url=slow.mar&initial_workers=1&synchronous=false"),
         ask("/ping", method="GET"), Touch("load"), Until(manage("GET", "/models/slow"), "READY"),
         ask("/ping", method="GET")),
)  # fmt: skip

LIST: tuple[Row, ...] = (
    core("list", "5.3", manage("GET", "/models")),
    core("list with a slash", "5.3", manage("GET", "/models/")),
    core("list one", "5.3", manage("GET", "/models?limit=1")),
    core("list from a page", "5.3", manage("GET", "/models?limit=1&next_page_token=1")),
    core("list the last page", "5.3", manage("GET", "/models?limit=2&next_page_token=2")),
    core("list exactly all", "5.3", manage("GET", "/models?limit=4")),
    core("list none", "5.3", manage("GET", "/models?limit=0")),
    core("list a negative limit", "5.3", manage("GET", "/models?limit=-1")),
    core("list too many", "5.3", manage("GET", "/models?limit=1000")),
    core("list behind the end", "5.3", manage("GET", "/models?next_page_token=12")),
    core("list a negative page", "5.3", manage("GET", "/models?limit=1&next_page_token=-1")),
    core("list with empty parameters", "5.3", manage("GET", "/models?limit=&next_page_token=")),
    core("list with words", "5.3", manage("GET", "/models?limit=x&next_page_token=y")),
    core("an unknown path", "5.7", manage("GET", "/nothing")),
    core("a put to models", "5.7", manage("PUT", "/models")),
    core("a delete of models", "5.7", manage("DELETE", "/models")),
    core("root of management", "5.7", manage("GET", "/")),
    core("predictions are not on the management port", "5.7", manage("POST", "/predictions/a", "x", "text/plain")),
    core("ping is not on the management port", "5.7", manage("GET", "/ping")),
    standard("token with tokens off", "10.3", manage("GET", "/token?type=inference")),
)

_LOCKED = (
    core("scale while locked", "10.4", manage("PUT", "/models/probe?min_worker=1")),
    core("describe while locked", "10.4", manage("GET", "/models")),
    core("set-default while locked", "10.4", manage("PUT", "/models/probe/1.0/set-default")),
    core("register while locked", "10.4", manage("POST", "/models?url=echo.mar")),
    core("remove while locked", "10.4", manage("DELETE", "/models/probe")),
)
_DEFAULT = (core("register with nothing said about it", "10.4", manage("POST", "/models?url=echo.mar")),)

SETUPS = (
    Setup("register", REGISTER, files=(("store/junk.mar", "this is no archive"),),
          archives=("echo.mar", "echo2.mar", "other.mar", "nameless.mar", "four.mar", "packed.tar.gz", "folder")),
    Setup("workers", WORKERS,
          archives=("probe.mar", "echo2.mar", "other.mar", "broken.mar", "classes.mar", "handless.mar",
                    "configured.mar", "describes.mar", "slow.mar")),
    Setup("list", LIST, models=("a=echo.mar", "b=echo.mar", "c=other.mar", "d=other.mar"),
          properties="default_workers_per_model=1\n"),
    Setup("locked", _LOCKED, models=("probe.mar",), archives=("echo.mar",), properties="enable_model_api=false\n",
          flags=("--ncs", "--disable-token-auth")),
    Setup("unsaid", _DEFAULT, archives=("echo.mar",), flags=("--ncs", "--disable-token-auth")),
)  # fmt: skip
