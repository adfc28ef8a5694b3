// Before the page begins, and in a language that every browser reads: says so where the browser can't show it.

(function () {
  if (document.currentScript) document.currentScript.parentNode.removeChild(document.currentScript);
  var lacking = !("noModule" in document.createElement("script")) ? "modules"
    : !window.CSS || !CSS.supports || !CSS.supports("color", "light-dark(#000, #fff)") ? "light-dark() colours"
    : !window.AbortSignal || !AbortSignal.any ? "AbortSignal.any"
    : !window.TextDecoderStream ? "TextDecoderStream"
    : !("showModal" in document.createElement("dialog")) ? "dialogs" : null;
  if (!lacking) return;
  window.tooOld = true;
  document.addEventListener("DOMContentLoaded", function () {
    var words = document.createElement("p");
    words.appendChild(document.createTextNode("This browser is too old for this page: it has no " + lacking
      + ". The page needs Chrome or Edge 123, Firefox 124, Safari 17.5, or newer. The command line and the API do not need it."));
    var main = document.createElement("main");
    main.className = "too-old";
    main.setAttribute("role", "alert");
    main.appendChild(words);
    document.body.appendChild(main);
  });
}());
